{{/* What values.schema.json can't say of the release: a line for each fault. */}}
{{- define "sluiceway.releaseFaults" }}
{{- if not .Values.nats.urls }}
nats.urls is missing: the chart installs no NATS; name the servers, such as [nats://nats.nats:4222]
{{- end }}
{{- if not .Values.identity.existingSecret }}
identity.existingSecret is missing: make it once, and never change it: kubectl create secret generic sluiceway-identity --from-literal=key=$(openssl rand -hex 32)
{{- end }}
{{- if and .Values.nats.ca.existingConfigMap .Values.nats.ca.existingSecret }}
nats.ca: name existingConfigMap or existingSecret, not both
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
httpRoute.parentRefs is missing: name the Gateways that the routes belong to
{{- end }}
{{- if and (or .Values.ingress.enabled .Values.httpRoute.enabled) (not (include "sluiceway.routes" . | fromYaml).routes) }}
ingress, httpRoute: no gateway has hooks, so that there is nothing to route; set gateways.<key>.hooks
{{- end }}
{{- range $file, $text := .Values.accounts.files }}
{{- $tables := fromToml $text }}
{{- if not (hasSuffix ".toml" $file) }}
accounts.files.{{ $file }}: its name must end in .toml, or it is not read
{{- else if $tables.Error }}
accounts.files.{{ $file }} is not TOML: {{ $tables.Error }}
{{- else if omit $tables "connections" "accounts" }}
accounts.files.{{ $file }} has {{ omit $tables "connections" "accounts" | keys | sortAlpha | join ", " }}: a file of accounts has only connections and accounts; the rest belongs into defaults.config
{{- end }}
{{- range $kind := list "connections" "accounts" }}
{{- range $name, $table := (get $tables $kind | default dict) }}
{{- if kindIs "map" $table }}
{{- range $key, $value := $table }}
{{- if and (regexMatch "^((app|api_key)_)?secret$|^((access|verify)_)?token$|^(relay_)?password$|^(api|signing)_key$" $key) (not (regexMatch "^(env|file):" (toString $value))) }}
accounts.files.{{ $file }}: {{ $kind }}.{{ $name }}.{{ $key }} has a secret in clear, which a ConfigMap would show; write file:/etc/sluiceway/secrets/<name>/<key> and name the Secret in gateways.<key>.secrets
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $alerts := list "SluicewayWorkloadGone" }}
{{- range (.Files.Get "files/alerts.yaml" | fromYaml).groups }}{{ range .rules }}{{ $alerts = append $alerts .alert }}{{ end }}{{ end }}
{{- range .Values.metrics.prometheusRule.disabled }}
{{- if not (has . $alerts) }}
metrics.prometheusRule.disabled: there is no alert {{ . }}; there are {{ join ", " $alerts }}
{{- end }}
{{- end }}
{{- $hooks := dict }}
{{- $nameless := list }}
{{- range $key, $own := include "sluiceway.workloads" . | fromYaml }}
{{- if not $own.image.repository }}{{ $nameless = append $nameless $key }}{{ end }}
{{- range $own.hooks }}
{{- if hasKey $hooks . }}
gateways.{{ $key }}.hooks: the hook {{ . }} is {{ ternary "named twice" (printf "gateways.%s's too; a hook lives in one gateway" (get $hooks .)) (eq $key (get $hooks .)) }}
{{- end }}
{{- $_ := set $hooks . $key }}
{{- end }}
{{- end }}
{{- if $nameless }}
defaults.image.repository is missing, for {{ join ", " $nameless }}: build the image (make image), push it to your registry, and say where it is
{{- end }}
{{- range $key, $own := .Values.gateways }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,28}[a-z0-9])?$" $key) }}
gateways.{{ $key }}: a key is part of DNS names: at most 30 lower-case letters, digits and hyphens, and a letter first
{{- else if has $key (list "true" "false" "null" "y" "n" "yes" "no" "on" "off") }}
gateways.{{ $key }}: on, off, yes, no, y, n, true and false are booleans in YAML; name the gateway otherwise
{{- else if has $key (list "dispatcher" "streams" "accounts" "test" "dashboard") }}
gateways.{{ $key }}: the chart makes something else of that name; name the gateway otherwise
{{- end }}
{{- if and (dig "image" "repository" "" $own) (not (or (dig "image" "tag" "" $own) (dig "image" "digest" "" $own))) }}
gateways.{{ $key }}.image: with a repository of its own it needs a tag or a digest of its own
{{- end }}
{{- end }}
{{- end -}}

{{/* What values.schema.json can't say of a workload: (list $ path name workload); a line for each fault. */}}
{{- define "sluiceway.workloadFaults" }}
{{- $root := index . 0 }}
{{- $path := index . 1 }}
{{- $name := index . 2 }}
{{- $own := index . 3 }}
{{- if gt (len $name) 52 }}
{{ $path }}: the name {{ $name }} has more than 52 letters; choose a shorter release name, fullnameOverride or key
{{- end }}
{{- if and (or $root.Values.ingress.enabled $root.Values.httpRoute.enabled) $own.hooks (not (include "sluiceway.host" $own)) }}
{{ $path }}.publicUrl is missing: ingress or httpRoute needs its host, and providers sign it; set it here or in defaults, such as https://hooks.example.com
{{- end }}
{{- if and $own.spool.enabled (not $own.spool.size) }}
{{ $path }}.spool.size is missing: a spool needs storage of its own, such as 1Gi
{{- end }}
{{- if and $own.spool.enabled $own.spool.size (gt (float64 $own.spool.maxBytes) (include "sluiceway.bytes" $own.spool.size | float64)) }}
{{ $path }}.spool.maxBytes is more than spool.size holds ({{ $own.spool.size }}): its disk would be full before it says so; leave a tenth of it free
{{- end }}
{{- if and $own.spool.enabled $own.autoscaling.enabled }}
{{ $path }}: a spool is not scaled by itself: what is in the claim of a pod that was taken away would wait there; turn spool or autoscaling off
{{- end }}
{{- if and $own.autoscaling.enabled (gt (int $own.autoscaling.minReplicas) (int $own.autoscaling.maxReplicas)) }}
{{ $path }}.autoscaling: minReplicas is more than maxReplicas
{{- end }}
{{- if and (not $own.lifecycle) (gt (add $own.preStopSleepSeconds 10) (int $own.terminationGracePeriodSeconds)) }}
{{ $path }}.terminationGracePeriodSeconds is too short: preStopSleepSeconds and 10 s to finish what is in flight must fit into it
{{- end }}
{{- if and $own.natsLogin.userKey (not $own.natsLogin.passwordKey) }}
{{ $path }}.natsLogin.passwordKey is missing: a userKey needs one
{{- end }}
{{- if and (or $own.natsLogin.userKey $own.natsLogin.tokenKey) (not $own.natsLogin.existingSecret) }}
{{ $path }}.natsLogin.existingSecret is missing: its keys are named, but no Secret
{{- end }}
{{- if has "identity" $own.secrets }}
{{ $path }}.secrets: the Secret identity can't be mounted, as the identity key's place has that name; rename it
{{- end }}
{{- range $own.ports }}
{{- if or (has (int .port) (list 8080 9090)) (has .name (list "hooks" "probes")) }}
{{ $path }}.ports: {{ .name }} {{ .port }} is taken: hooks listen on 8080, probes on 9090
{{- end }}
{{- end }}
{{- range default list $own.accounts.files }}
{{- if not (hasKey $root.Values.accounts.files .) }}
{{ $path }}.accounts.files: there is no accounts.files.{{ . }}
{{- end }}
{{- end }}
{{- $elsewhere := dict "nats" "nats and natsLogin" "identity" "identity" "egress" "proxy" "spool" "spool" }}
{{- range $section, $values := $own.config }}
{{- if hasKey $elsewhere $section }}
{{ $path }}.config.{{ $section }}: the chart writes this section; use the value {{ get $elsewhere $section }}
{{- else if and (eq $section "http") (hasKey $values "public_url") }}
{{ $path }}.config.http.public_url: the chart writes it; use the value publicUrl
{{- else if and (has $section (list "http" "probes")) (hasKey $values "listen") }}
{{ $path }}.config.{{ $section }}.listen: the chart writes it, as Service and probes need it
{{- else if and (eq $section "reload") (hasKey $values "folder") }}
{{ $path }}.config.reload.folder: the chart writes it; use the value accounts
{{- end }}
{{- end }}
{{- end -}}
