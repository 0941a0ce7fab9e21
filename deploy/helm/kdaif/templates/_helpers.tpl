{{- define "kdaif.labels" -}}
app.kubernetes.io/name: kdaif
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "kdaif.selector" -}}
app.kubernetes.io/name: kdaif
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "kdaif.env" -}}
- name: KDAIF_REDIS_URL
{{- if .Values.valkey.enabled }}
  value: redis://{{ .Release.Name }}-valkey:6379/0
{{- else if .Values.redis.existingSecret }}
  valueFrom:
    secretKeyRef: {name: {{ .Values.redis.existingSecret }}, key: url}
{{- else }}
  value: {{ required "set redis.url, redis.existingSecret or valkey.enabled" .Values.redis.url }}
{{- end }}
- name: KDAIF_STORE_URL
  value: {{ .Values.store.url | default "file:///blobs" }}
{{- end }}

{{- define "kdaif.envFrom" -}}
{{- if .Values.store.existingSecret }}
envFrom:
  - secretRef: {name: {{ .Values.store.existingSecret }}}
{{- end }}
{{- end }}

{{- define "kdaif.mounts" -}}
- {name: scratch, mountPath: /data}
- {name: tmp, mountPath: /tmp}
{{- if not .Values.store.url }}
- {name: blobs, mountPath: /blobs}
{{- end }}
{{- end }}

{{- define "kdaif.sharedVolumes" -}}
- name: tmp
  emptyDir: {}
{{- if not .Values.store.url }}
- name: blobs
  persistentVolumeClaim: {claimName: {{ .Release.Name }}-blobs}
{{- end }}
{{- end }}

{{- define "kdaif.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "kdaif.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: ["ALL"]}
{{- end }}
