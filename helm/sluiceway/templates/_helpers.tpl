{{/* The beginning of all names. */}}
{{- define "sluiceway.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods of a component: (list $ key). */}}
{{- define "sluiceway.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of what is made for a component: (list $ key), or (list $ key its-own-labels). */}}
{{- define "sluiceway.labels" -}}
{{- $root := index . 0 -}}
{{- $own := dict -}}
{{- if gt (len .) 2 }}{{ $own = default dict (index . 2) }}{{ end -}}
{{- $standard := include "sluiceway.selector" . | fromYaml -}}
{{- $_ := set $standard "app.kubernetes.io/version" $root.Chart.AppVersion -}}
{{- $_ := set $standard "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $_ := set $standard "app.kubernetes.io/part-of" "sluiceway" -}}
{{- $_ := set $standard "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_") -}}
{{- toYaml (mergeOverwrite (deepCopy $root.Values.labels) $own $standard) -}}
{{- end -}}

{{/* Every gateway that is enabled, and the dispatcher: a map of key → values merged over the defaults. */}}
{{- define "sluiceway.workloads" -}}
{{- $workloads := dict -}}
{{- range $key, $own := merge (dict "dispatcher" .Values.dispatcher) .Values.gateways -}}
{{- $merged := mustMergeOverwrite (deepCopy $.Values.defaults) (deepCopy $own) -}}
{{- if dig "image" "repository" "" $own -}}
{{- $_ := set $merged "image" (mustMergeOverwrite (deepCopy $merged.image) (dict "tag" "" "digest" "") $own.image) -}}
{{- end -}}
{{- if eq $key "dispatcher" -}}
{{- $none := dict "channels" (list "dispatcher") "hooks" list "ports" list "accounts" dict "secrets" list -}}
{{- range $name, $value := $none }}{{ $_ := set $merged $name $value }}{{ end -}}
{{- $_ := mustMergeOverwrite $merged (dict "spool" (dict "enabled" false) "autoscaling" (dict "enabled" false)) -}}
{{- end -}}
{{- if $merged.enabled }}{{ $_ := set $workloads $key $merged }}{{ end -}}
{{- end -}}
{{- toYaml $workloads -}}
{{- end -}}

{{/* What runs once, as a workload: (list $ its-values). */}}
{{- define "sluiceway.once" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
{{- $merged := deepCopy $root.Values.defaults -}}
{{- range $key := list "natsLogin" "resources" }}{{ with index $own $key }}{{ $_ := mustMergeOverwrite $merged (dict $key .) }}{{ end }}{{ end -}}
{{- $pod := dict "podAnnotations" $own.podAnnotations "podLabels" $own.podLabels "extraEnv" (concat $merged.extraEnv $own.extraEnv) -}}
{{- $none := dict "initContainers" list "sidecars" list "secrets" list "topologySpreadConstraints" list "config" dict -}}
{{- toYaml (mustMergeOverwrite $merged (deepCopy $pod) $none) -}}
{{- end -}}

{{- define "sluiceway.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "sluiceway.serviceAccount" -}}
{{- $own := index . 2 -}}
{{- if $own.serviceAccount.name }}{{ $own.serviceAccount.name -}}
{{- else if $own.serviceAccount.create }}{{ include "sluiceway.fullname" (index . 0) }}-{{ index . 1 -}}
{{- else }}default{{ end -}}
{{- end -}}

{{/* A quantity of storage, such as 5Gi, in bytes. */}}
{{- define "sluiceway.bytes" -}}
{{- $units := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 -}}
{{- $binary := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 -}}
{{- $text := ternary (toString .) (printf "%f" (float64 .)) (kindIs "string" .) -}}
{{- mulf (float64 (regexFind "^[0-9.]+" $text)) (get (merge $units $binary) (regexFind "[A-Za-z]*$" $text)) -}}
{{- end -}}

{{/* The host of a workload's publicUrl. */}}
{{- define "sluiceway.host" -}}
{{- get (urlParse .publicUrl) "hostname" -}}
{{- end -}}

{{/* The port of a URL, its scheme's usual one where it names none. */}}
{{- define "sluiceway.port" -}}
{{- $url := urlParse . -}}
{{- $usual := dict "nats" "4222" "tls" "4222" "ws" "80" "http" "80" "wss" "443" "https" "443" -}}
{{- default (get $usual $url.scheme) (regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host)) -}}
{{- end -}}

{{/* What the Internet reaches: routes, each a gateway's key, host and paths. */}}
{{- define "sluiceway.routes" -}}
{{- $files := dict -}}
{{- $routes := list -}}
{{- range $key, $own := include "sluiceway.workloads" . | fromYaml -}}
{{- if $own.hooks -}}
{{- $host := include "sluiceway.host" $own -}}
{{- $paths := list -}}
{{- range $own.hooks }}{{ $paths = append $paths (printf "/hooks/%s" .) }}{{ end -}}
{{- if and $own.media (not (hasKey $files $host)) -}}
{{- $_ := set $files $host $key -}}
{{- $paths = append $paths "/media" -}}
{{- end -}}
{{- $routes = append $routes (dict "key" $key "host" $host "paths" $paths) -}}
{{- end -}}
{{- end -}}
{{- toYaml (dict "routes" $routes) -}}
{{- end -}}

{{/* The tenants whose buckets the streams job makes: those that are named, and those of inline accounts. */}}
{{- define "sluiceway.tenants" -}}
{{- $tenants := .Values.streams.tenants -}}
{{- range .Values.accounts.files -}}
{{- range $account := default dict (fromToml .).accounts }}{{ with $account.tenant }}{{ $tenants = append $tenants . }}{{ end }}{{ end -}}
{{- end -}}
{{- toYaml (dict "tenants" ($tenants | uniq | sortAlpha)) -}}
{{- end -}}
