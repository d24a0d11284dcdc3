{{- define "tidemark.labels" -}}
app.kubernetes.io/name: tidemark
app.kubernetes.io/component: agent
{{ include "tidemark.common" . }}
{{- end }}

{{- define "tidemark.common" -}}
tidemark.dev/site: {{ required "site: the name of this site" .Values.site }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "tidemark.selector" -}}
app.kubernetes.io/name: tidemark
app.kubernetes.io/component: agent
{{- end }}

{{- define "tidemark.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "tidemark.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "tidemark.securityContext" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* The volumes that the agent and the job share; the state is the agent's alone. */ -}}
{{- define "tidemark.mounts" -}}
- name: config
  mountPath: /etc/tidemark
  readOnly: true
- name: keys
  mountPath: /run/secrets/tidemark
  readOnly: true
- name: ceph
  mountPath: /etc/ceph
  readOnly: true
{{- end }}

{{- define "tidemark.volumes" -}}
- name: config
  projected:
    defaultMode: 0440
    sources:
      - configMap:
          name: tidemark-config
      - secret:
          name: {{ .Values.tls.secretName }}
          items:
            - key: tls.crt
              path: tls/tls.crt
            - key: tls.key
              path: tls/tls.key
            - key: ca.crt
              path: tls/ca.crt
      - configMap:
          name: {{ .Values.tls.rootsConfigMap }}
          optional: true
          items:
            - key: ca.crt
              path: tls/roots.crt
- name: keys
  secret:
    secretName: {{ .Values.keys.secretName }}
    optional: true
    defaultMode: 0440
- name: ceph
  projected:
    defaultMode: 0440
    sources:
      - configMap:
          name: tidemark-ceph
      - secret:
          name: {{ .Values.ceph.secretName }}
{{- end }}

{{- define "tidemark.binding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}Binding
metadata:
  name: {{ .name }}
  {{- if eq .kind "Role" }}
  namespace: {{ .root.Release.Namespace }}
  {{- end }}
  labels:
    app.kubernetes.io/name: tidemark
    {{- include "tidemark.common" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: tidemark-agent
    namespace: {{ .root.Release.Namespace }}
{{- end }}
