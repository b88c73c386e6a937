{{- define "eciton.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "eciton.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "eciton.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "eciton.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "eciton.selector" -}}
app.kubernetes.io/name: {{ include "eciton.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "eciton.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "eciton.selector" . }}
{{- end }}

{{- define "eciton.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "eciton.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "eciton.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}

{{/* Whether workers mount a volume with the database. */}}
{{- define "eciton.onVolume" -}}
{{- if not .Values.database.url }}true{{- end }}
{{- end }}

{{/* Whether the database is on a volume that outlives its pods. */}}
{{- define "eciton.hasVolume" -}}
{{- $volume := .Values.database.volume }}
{{- if or $volume.existingClaim $volume.size $volume.nfs.server }}true{{- end }}
{{- end }}

{{- define "eciton.hasRedis" -}}
{{- if and (ne .Values.shape "dev") (or .Values.redis.bundled .Values.redis.address) }}true{{- end }}
{{- end }}

{{- define "eciton.redisSecret" -}}
{{- if .Values.redis.passwordSecret }}
{{- .Values.redis.passwordSecret }}
{{- else if .Values.redis.bundled }}
{{- include "eciton.fullname" . }}-redis
{{- end }}
{{- end }}

{{- define "eciton.metricsSecret" -}}
{{- default (printf "%s-metrics" (include "eciton.fullname" .)) .Values.metrics.tokenSecret }}
{{- end }}

{{/* What cannot be, told before anything is installed. */}}
{{- define "eciton.check" -}}
{{- $volume := .Values.database.volume }}
{{- $places := list .Values.database.url $volume.existingClaim $volume.size $volume.nfs.server | compact | len }}
{{- if gt $places 1 }}
{{- fail "database: expected one of url, volume.existingClaim, volume.size and volume.nfs, found several" }}
{{- end }}
{{- if ne .Values.shape "dev" }}
{{- if eq $places 0 }}
{{- fail (printf "database: shape `%s` needs a database that all pods see: set database.url, or database.volume.existingClaim, .size or .nfs" .Values.shape) }}
{{- end }}
{{- if and (include "eciton.onVolume" .) (not (include "eciton.hasRedis" .)) }}
{{- fail "redis: workers that share a volume need Redis: set redis.address, or redis.bundled to true" }}
{{- end }}
{{- end }}
{{- if and $volume.nfs.server (not $volume.nfs.path) }}
{{- fail "database.volume.nfs: expected a path beside the server" }}
{{- end }}
{{- if and (eq .Values.shape "job") (not .Values.job.file) }}
{{- fail "job.file: shape `job` needs a job file: --set-file job.file=job.toml" }}
{{- end }}
{{- if and .Values.grpc.enabled (not .Values.grpc.insecure) (not (and .Values.grpc.tlsSecret .Values.grpc.tokensSecret)) }}
{{- fail "grpc: expected tlsSecret and tokensSecret, or insecure where the network itself keeps others out" }}
{{- end }}
{{- if and .Values.autoscaling.enabled .Values.keda.enabled }}
{{- fail "autoscaling and keda: expected one of them, since both would set the number of workers" }}
{{- end }}
{{- end }}

{{/* Environment of a container that opens the database. */}}
{{- define "eciton.env" -}}
- name: ECITON_DB
  value: {{ if .Values.database.url }}{{ .Values.database.url | quote }}{{ else }}{{ printf "/db/%s" .Values.database.volume.folder | quote }}{{ end }}
{{- if .Values.database.url }}
- name: ECITON_CACHE
  value: /cache
{{- end }}
{{- if include "eciton.hasRedis" . }}
- name: ECITON_REDIS
  value: {{ if .Values.redis.bundled }}{{ printf "redis://%s-redis:6379" (include "eciton.fullname" .) }}{{ else }}{{ .Values.redis.address }}{{ end }}
{{- with .Values.redis.username }}
- name: ECITON_REDIS_USERNAME
  value: {{ . | quote }}
{{- end }}
{{- with include "eciton.redisSecret" . }}
- name: ECITON_REDIS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ if $.Values.redis.passwordSecret }}{{ $.Values.redis.passwordKey }}{{ else }}password{{ end }}
{{- end }}
{{- end }}
{{- with .Values.logFilter }}
- name: RUST_LOG
  value: {{ . | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "eciton.envFrom" -}}
{{- with .Values.database.credentialsSecret }}
envFrom:
  - secretRef:
      name: {{ . }}
{{- end }}
{{- end }}

{{- define "eciton.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if include "eciton.onVolume" . }}
- name: database
  mountPath: /db
{{- else }}
- name: cache
  mountPath: /cache
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "eciton.volumes" -}}
- name: tmp
  emptyDir: {}
{{- if include "eciton.onVolume" . }}
- name: database
{{- $volume := .Values.database.volume }}
{{- if $volume.existingClaim }}
  persistentVolumeClaim:
    claimName: {{ $volume.existingClaim }}
{{- else if $volume.size }}
  persistentVolumeClaim:
    claimName: {{ include "eciton.fullname" . }}-db
{{- else if $volume.nfs.server }}
  persistentVolumeClaim:
    claimName: {{ include "eciton.fullname" . }}-nfs
{{- else }}
  emptyDir: {}
{{- end }}
{{- else }}
- name: cache
  emptyDir:
    sizeLimit: {{ .Values.database.cacheSize }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The rest of a pod: accounts, security, placement. */}}
{{- define "eciton.pod" -}}
serviceAccountName: {{ include "eciton.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
