{{/* The container's variables and volumes. */}}

{{- define "listener.env" -}}
- {name: PORT, value: "8080"}
- {name: TEKTON_LISTENER_CONFIG, value: /etc/tekton-listener/listener.yaml}
- {name: TMPDIR, value: /var/cache/tekton-listener}
- {name: LOG_LEVEL, value: {{ .Values.log.level }}}
- {name: LOG_FORMAT, value: {{ .Values.log.format }}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- with include "listener.authSecret" . }}
- name: AUTH_USERNAME
  valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ $.Values.auth.usernameKey }}}}
- name: AUTH_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ $.Values.auth.passwordKey }}}}
{{- end }}
{{- range $name, $from := .Values.secretEnv }}
- name: {{ $name }}
  valueFrom: {secretKeyRef: {name: {{ $from.existingSecret }}, key: {{ $from.key }}}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "listener.volumeMounts" -}}
- {name: config, mountPath: /etc/tekton-listener, readOnly: true}
- {name: spool, mountPath: /var/cache/tekton-listener}
{{- if .Values.archive.enabled }}
- {name: archive, mountPath: /var/lib/tekton-listener}
{{- end }}
{{- range $name, $_ := .Values.secretFiles }}
- {name: secret-{{ $name }}, mountPath: /run/secrets/tekton-listener/{{ $name }}, readOnly: true}
{{- end }}
{{- range $name, $_ := .Values.configMapFiles }}
- {name: configmap-{{ $name }}, mountPath: /run/configmaps/tekton-listener/{{ $name }}, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "listener.volumes" -}}
- name: config
  configMap: {name: {{ include "listener.fullname" . }}}
- name: spool
  {{- if .Values.spool.storageClass }}
  ephemeral:
    volumeClaimTemplate:
      spec:
        accessModes: [ReadWriteOnce]
        storageClassName: {{ .Values.spool.storageClass }}
        resources: {requests: {storage: {{ .Values.spool.size }}}}
  {{- else }}
  emptyDir: {sizeLimit: {{ .Values.spool.size }}}
  {{- end }}
{{- if .Values.archive.enabled }}
- name: archive
  persistentVolumeClaim: {claimName: {{ include "listener.archiveClaim" . }}}
{{- end }}
{{- range $name, $from := .Values.secretFiles }}
- name: secret-{{ $name }}
  secret: {secretName: {{ $from.existingSecret }}, defaultMode: 288} {{- /* 0440 */}}
{{- end }}
{{- range $name, $from := .Values.configMapFiles }}
- name: configmap-{{ $name }}
  configMap: {name: {{ $from.existingConfigMap }}}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
