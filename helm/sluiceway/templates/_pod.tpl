{{/*
The spec of a pod: a dict of root, key, config (the name of its ConfigMap; without one it knows no NATS either), own (its
merged values), args, and serves: false for what runs once, which has no ports, probes, accounts, secrets or spool.
*/}}
{{- define "sluiceway.pod" -}}
{{- $root := .root -}}
{{- $own := .own -}}
{{- $login := ternary $own.natsLogin dict (ne .config "") -}}
{{- $ca := ternary $root.Values.nats.ca dict (ne .config "") -}}
automountServiceAccountToken: false
{{- with $own.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .serves }}
serviceAccountName: {{ include "sluiceway.serviceAccount" (list $root .key $own) }}
terminationGracePeriodSeconds: {{ $own.terminationGracePeriodSeconds | int }}
{{- end }}
enableServiceLinks: false
securityContext:
  {{- toYaml $own.podSecurityContext | nindent 2 }}
{{- with $own.initContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: sluiceway
    image: {{ include "sluiceway.image" (list $root $own.image) | quote }}
    imagePullPolicy: {{ $own.image.pullPolicy }}
    {{- with $own.command }}
    command:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    args:
      {{- toYaml .args | nindent 6 }}
    {{- if or .config $own.extraEnv }}
    env:
      {{- if .config }}
      - {name: SLUICEWAY_CONFIG, value: /etc/sluiceway/config/sluiceway.toml}
      {{- end }}
      {{- if and $login.existingSecret $login.userKey }}
      - name: SLUICEWAY_NATS__USER
        valueFrom: {secretKeyRef: {name: {{ $login.existingSecret }}, key: {{ $login.userKey }}}}
      {{- end }}
      {{- with $own.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- end }}
    {{- with $own.extraEnvFrom }}
    envFrom:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- if .serves }}
    ports:
      {{- if ne .key "dispatcher" }}
      - {name: hooks, containerPort: 8080}
      {{- end }}
      - {name: probes, containerPort: 9090}
      {{- range $own.ports }}
      - {name: {{ .name }}, containerPort: {{ .port | int }}}
      {{- end }}
    startupProbe:
      {{- toYaml (mustMergeOverwrite (dict "httpGet" (dict "path" "/healthz" "port" "probes")) $own.probes.startup) | nindent 6 }}
    livenessProbe:
      {{- toYaml (mustMergeOverwrite (dict "httpGet" (dict "path" "/healthz" "port" "probes")) $own.probes.liveness) | nindent 6 }}
    readinessProbe:
      {{- toYaml (mustMergeOverwrite (dict "httpGet" (dict "path" "/readyz" "port" "probes")) $own.probes.readiness) | nindent 6 }}
    lifecycle:
      {{- if $own.lifecycle }}
      {{- toYaml $own.lifecycle | nindent 6 }}
      {{- else }}
      preStop: {sleep: {seconds: {{ $own.preStopSleepSeconds | int }}}}
      {{- end }}
    {{- end }}
    {{- with $own.resources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    securityContext:
      {{- toYaml $own.securityContext | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      {{- if .config }}
      - {name: config, mountPath: /etc/sluiceway/config, readOnly: true}
      {{- end }}
      {{- if or $ca.existingConfigMap $ca.existingSecret }}
      - {name: nats-ca, mountPath: /etc/sluiceway/nats/ca, readOnly: true}
      {{- end }}
      {{- if $login.existingSecret }}
      - {name: nats-login, mountPath: /etc/sluiceway/nats/login, readOnly: true}
      {{- end }}
      {{- if $login.certificateSecret }}
      - {name: nats-certificate, mountPath: /etc/sluiceway/nats/certificate, readOnly: true}
      {{- end }}
      {{- if .serves }}
      - {name: identity, mountPath: /etc/sluiceway/secrets/identity, readOnly: true}
      - {name: accounts, mountPath: /etc/sluiceway/accounts.d, readOnly: true}
      {{- range $own.secrets }}
      - {name: secret-{{ . }}, mountPath: /etc/sluiceway/secrets/{{ . }}, readOnly: true}
      {{- end }}
      {{- if $own.spool.enabled }}
      - {name: spool, mountPath: /var/spool/sluiceway}
      {{- end }}
      {{- with $own.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      {{- end }}
  {{- with $own.sidecars }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  - name: tmp
    emptyDir: {}
  {{- with .config }}
  - name: config
    configMap: {name: {{ . }}}
  {{- end }}
  {{- if $ca.existingConfigMap }}
  - name: nats-ca
    configMap: {name: {{ $ca.existingConfigMap }}}
  {{- else if $ca.existingSecret }}
  - name: nats-ca
    secret: {secretName: {{ $ca.existingSecret }}, items: [{key: {{ $ca.key }}, path: {{ $ca.key }}}]}
  {{- end }}
  {{- with $login.existingSecret }}
  - name: nats-login
    secret: {secretName: {{ . }}, defaultMode: 0440}
  {{- end }}
  {{- with $login.certificateSecret }}
  - name: nats-certificate
    secret: {secretName: {{ . }}, defaultMode: 0440}
  {{- end }}
  {{- if .serves }}
  - name: identity
    secret:
      secretName: {{ $root.Values.identity.existingSecret }}
      defaultMode: 0440
      items: [{key: {{ $root.Values.identity.key }}, path: key}]
  - name: accounts
    projected:
      defaultMode: 0440
      sources:
        {{- include "sluiceway.accountSources" (list $root $own) | nindent 8 }}
  {{- range $own.secrets }}
  - name: secret-{{ . }}
    secret: {secretName: {{ . }}, defaultMode: 0440}
  {{- end }}
  {{- with $own.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- end }}
{{- with $own.topologySpreadConstraints }}
{{- $selector := dict "matchLabels" (include "sluiceway.selector" (list $root $.key) | fromYaml) }}
{{- $constraints := list }}
{{- range . }}{{ $constraints = append $constraints (merge (deepCopy .) (dict "labelSelector" $selector)) }}{{ end }}
topologySpreadConstraints:
  {{- toYaml $constraints | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $own.extraPodSpec }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}

{{/* Where a workload's accounts come from, all of what it does not choose among: (list $ workload). */}}
{{- define "sluiceway.accountSources" -}}
{{- $accounts := (index . 0).Values.accounts -}}
{{- $chosen := (index . 1).accounts -}}
{{- $inline := dict "name" (printf "%s-accounts" (include "sluiceway.fullname" (index . 0))) -}}
{{- $items := list -}}
{{- range $chosen.files }}{{ $items = append $items (dict "key" . "path" .) }}{{ end -}}
{{- with $items }}{{ $_ := set $inline "items" . }}{{ end -}}
{{- $sources := list -}}
{{- /* Without items Kubernetes mounts every key, so that who chooses no file gets no source. */ -}}
{{- if or $items (not (hasKey $chosen "files")) }}{{ $sources = append $sources (dict "configMap" $inline) }}{{ end -}}
{{- range ternary $chosen.existingConfigMaps $accounts.existingConfigMaps (hasKey $chosen "existingConfigMaps") -}}
{{- $sources = append $sources (dict "configMap" (dict "name" .)) -}}
{{- end -}}
{{- range ternary $chosen.existingSecrets $accounts.existingSecrets (hasKey $chosen "existingSecrets") -}}
{{- $sources = append $sources (dict "secret" (dict "name" .)) -}}
{{- end -}}
{{- toYaml $sources -}}
{{- end -}}
