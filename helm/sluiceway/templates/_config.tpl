{{/* A table as TOML: (list path table). Core's sections have scalars, lists of them, and tables. */}}
{{- define "sluiceway.toml" -}}
{{- $path := index . 0 -}}
{{- range $key, $value := index . 1 }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ $key }} = {{ toRawJson $value }}
{{- end }}
{{- end }}
{{- range $key, $value := index . 1 }}
{{- if kindIs "map" $value }}
{{- $name := ternary $key (toRawJson $key) (regexMatch "^[A-Za-z0-9_-]+$" $key) }}
{{- $whole := ternary (printf "%s.%s" $path $name) $name (ne $path "") }}

[{{ $whole }}]
{{- include "sluiceway.toml" (list $whole $value) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What the chart itself says in sluiceway.toml: (list $ workload), or (list $ workload "once") for what runs once. */}}
{{- define "sluiceway.sections" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
{{- $serves := lt (len .) 3 -}}
nats:
  url: {{ join "," $root.Values.nats.urls | quote }}
  prefix: {{ $root.Values.nats.prefix | quote }}
  names: {{ $root.Values.nats.names | quote }}
  streams: check
  {{- with $root.Values.nats.domain }}
  domain: {{ . | quote }}
  {{- end }}
  {{- if or $root.Values.nats.ca.existingConfigMap $root.Values.nats.ca.existingSecret }}
  ca: {{ printf "/etc/sluiceway/nats/ca/%s" $root.Values.nats.ca.key | quote }}
  {{- end }}
  {{- with $own.natsLogin }}
  {{- with .inboxPrefix }}
  inbox_prefix: {{ . | quote }}
  {{- end }}
  {{- if and .existingSecret .userKey }}
  password: {{ printf "file:/etc/sluiceway/nats/login/%s" .passwordKey | quote }}
  {{- else if and .existingSecret .tokenKey }}
  token: {{ printf "file:/etc/sluiceway/nats/login/%s" .tokenKey | quote }}
  {{- else if .existingSecret }}
  credentials: {{ printf "/etc/sluiceway/nats/login/%s" .credentialsKey | quote }}
  {{- end }}
  {{- if .certificateSecret }}
  certificate: /etc/sluiceway/nats/certificate/tls.crt
  key: /etc/sluiceway/nats/certificate/tls.key
  {{- end }}
  {{- end }}
log: {format: json}
{{- if $serves }}
http:
  listen: 0.0.0.0:8080
  {{- with $own.publicUrl }}
  public_url: {{ . | quote }}
  {{- end }}
probes: {listen: "0.0.0.0:9090"}
identity: {key: "file:/etc/sluiceway/secrets/identity/key"}
reload: {folder: /etc/sluiceway/accounts.d}
{{- with $own.proxy }}
egress: {proxy: {{ . | quote }}}
{{- end }}
{{- if $own.spool.enabled }}
spool: {path: /var/spool/sluiceway, max_bytes: {{ $own.spool.maxBytes | int64 }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* A workload's sluiceway.toml: the arguments of sluiceway.sections. */}}
{{- define "sluiceway.config" -}}
{{- $sections := mustMergeOverwrite (include "sluiceway.sections" . | fromYaml) (index . 1).config -}}
{{- include "sluiceway.toml" (list "" $sections) | trim }}
{{ end -}}
