{{/* What the schema cannot say: every problem at once, each with what to write instead. */}}

{{- define "listener.checks" -}}
{{- $problems := concat (include "listener.legacy" . | fromYamlArray) (include "listener.conflicts" . | fromYamlArray) }}
{{- if $problems }}
{{- fail (printf "\n\n%s\n" (join "\n" $problems)) }}
{{- end }}
{{- $problems = include "listener.missing" . | fromYamlArray }}
{{- if $problems }}
{{- fail (printf "\n\n%s\n" (join "\n" $problems)) }}
{{- end }}
{{- end }}

{{/* Values of the original's chart that mean something else now. */}}
{{- define "listener.legacy" -}}
{{- $p := list }}
{{- if kindIs "string" .Values.image }}
{{- $name := regexReplaceAll ":[^:/]*$" .Values.image "" }}
{{- $tag := trimPrefix ":" (regexFind ":[^:/]*$" .Values.image) }}
{{- $p = append $p (printf "image: %s is written in parts now: image: {repository: %s, tag: %q}. The original's own image does not run with this chart." .Values.image $name (default "latest" $tag)) }}
{{- end }}
{{- range $key := list "existing_secret" "existingSecret" }}
{{- with index $.Values $key }}
{{- $p = append $p (printf "%s: write auth.existingSecret: %s" $key .) }}
{{- end }}
{{- end }}
{{- with .Values.auth.existing_secret }}
{{- $p = append $p (printf "auth.existing_secret: write auth.existingSecret: %s" .) }}
{{- end }}
{{- with .Values.tekton_pipelines }}
{{- $p = append $p (printf "tekton_pipelines.ns: write config.default_namespace: %s" .ns) }}
{{- end }}
{{- range $key := list "limits" "requests" }}
{{- with index $.Values.deployment $key }}
{{- $p = append $p (printf "deployment.%s: write deployment.resources.%s: %s" $key $key (toJson .)) }}
{{- end }}
{{- end }}
{{- toYaml $p }}
{{- end }}

{{/* Values that do not go together. */}}
{{- define "listener.conflicts" -}}
{{- $p := list }}
{{- $auth := .Values.auth }}
{{- if and (not $auth.existingSecret) (ne (empty $auth.username) (empty $auth.password)) }}
{{- $p = append $p "auth: give username and password, or better auth.existingSecret" }}
{{- else if and (not $auth.existingSecret) (contains ":" $auth.username) }}
{{- $p = append $p "auth.username: a user name has no ':' (Basic authentication)" }}
{{- else if not (or $auth.existingSecret $auth.password .Values.config.users) }}
{{- $p = append $p "nobody may log in: create a Secret with the keys AUTH_USERNAME and AUTH_PASSWORD and name it in auth.existingSecret, or list config.users" }}
{{- end }}
{{- if and (not (include "listener.leases" .)) (gt (int (include "listener.replicas" .)) 1) }}
{{- $key := ternary "autoscaling.maxReplicas" "deployment.replicas" .Values.autoscaling.enabled }}
{{- $p = append $p (printf "%s: %s replicas would all report every run: set leases.enabled: true, which lets them divide the work" $key (include "listener.replicas" .)) }}
{{- end }}
{{- with .Values.autoscaling }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
{{- $p = append $p (printf "autoscaling.minReplicas: %d is more than maxReplicas, %d" (int .minReplicas) (int .maxReplicas)) }}
{{- end }}
{{- end }}
{{- if and .Values.namespaces .Values.config.namespaces (ne (toJson .Values.namespaces) (toJson .Values.config.namespaces)) }}
{{- $p = append $p "config.namespaces: says something else than namespaces; write them once, in namespaces" }}
{{- end }}
{{- if and .Values.tektonPipelines.ns .Values.config.default_namespace (ne .Values.tektonPipelines.ns .Values.config.default_namespace) }}
{{- $p = append $p "tektonPipelines.ns: says something else than config.default_namespace; leave it out" }}
{{- end }}
{{- if and .Values.archive.enabled (contains "Once" .Values.archive.accessMode) (gt (int (include "listener.replicas" .)) 1) }}
{{- $p = append $p (printf "archive.accessMode: replicas share one archive: ReadWriteMany, or object storage (config.logs.archive: s3://BUCKET/PREFIX, archive.enabled: false), instead of %s" .Values.archive.accessMode) }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) (not .Values.config.public_url) }}
{{- $p = append $p "ingress.hosts: give one, or config.public_url" }}
{{- end }}
{{- if and (or .Values.ingress.enabled .Values.httpRoute.enabled) (trimAll "/" (urlParse (default "" .Values.config.public_url)).path) }}
{{- $p = append $p (printf "config.public_url: %s has a path, which neither ingress nor httpRoute lead to: give it a host name of its own, or make an Ingress of yours that takes the path away" .Values.config.public_url) }}
{{- end }}
{{- if .Values.httpRoute.enabled }}
{{- if not .Values.httpRoute.parentRefs }}
{{- $p = append $p "httpRoute.parentRefs: name a Gateway, for example [{name: public, namespace: gateways}]" }}
{{- end }}
{{- end }}
{{- $nodePort := .Values.service.nodePort }}
{{- if and $nodePort (eq .Values.service.type "ClusterIP") }}
{{- $p = append $p "service.nodePort: is for service.type NodePort or LoadBalancer" }}
{{- end }}
{{- toYaml $p }}
{{- end }}

{{/* What the configuration names and no pod would have: files, environment variables, a place for recorded logs. */}}
{{- define "listener.missing" -}}
{{- $p := list }}
{{- $config := include "listener.config" . | fromYaml }}
{{- $found := dict "items" list }}
{{- $_ := include "listener.walk" (dict "value" $config "where" "config" "key" "" "found" $found) }}
{{- $mounts := list "/var/run/secrets/" "/etc/ssl/" }}
{{- range $name, $_ := .Values.secretFiles }}
{{- $mounts = append $mounts (printf "/run/secrets/tekton-listener/%s/" $name) }}
{{- end }}
{{- range $name, $_ := .Values.configMapFiles }}
{{- $mounts = append $mounts (printf "/run/configmaps/tekton-listener/%s/" $name) }}
{{- end }}
{{- range .Values.extraVolumeMounts }}
{{- $mounts = append $mounts (ternary .mountPath (printf "%s/" (trimSuffix "/" .mountPath)) (not (empty .subPath))) }}
{{- end }}
{{- $variables := keys .Values.secretEnv }}
{{- range .Values.extraEnv }}
{{- $variables = append $variables .name }}
{{- end }}
{{- range $found.items }}
{{- if hasSuffix "_file" .where }}
{{- $mounted := false }}
{{- $path := .value }}
{{- range $mounts }}
{{- if and (hasPrefix . $path) (or (not (hasSuffix "/" .)) (ne . $path)) }}
{{- $mounted = true }}
{{- end }}
{{- end }}
{{- if not $mounted }}
{{- $p = append $p (printf "%s: nothing is mounted at %s: secretFiles.NAME.existingSecret puts a Secret's keys at /run/secrets/tekton-listener/NAME/KEY (configMapFiles.NAME a ConfigMap's at /run/configmaps/tekton-listener/NAME/KEY); or mount it with extraVolumes and extraVolumeMounts" .where $path) }}
{{- end }}
{{- else if not (or (has .value $variables) $.Values.extraEnvFrom) }}
{{- $p = append $p (printf "%s: the container has no variable %s: secretEnv.%s: {existingSecret: SECRET, key: KEY}" .where .value .value) }}
{{- end }}
{{- end }}
{{- $logs := $config.logs }}
{{- $records := $logs.record }}
{{- range $config.services }}
{{- if eq (toString .logs) "record" }}{{- $records = true }}{{- end }}
{{- end }}
{{- if and $records (not $logs.archive) }}
{{- $p = append $p "config.logs.archive: logs are to be recorded, so say where: s3://BUCKET/PREFIX (or gs://, az://), or archive.enabled: true for a volume" }}
{{- end }}
{{- $archive := toString (default "" $logs.archive) }}
{{- if and $archive (not (contains "://" $archive)) (not .Values.archive.enabled) }}
{{- $mounted := false }}
{{- range .Values.extraVolumeMounts }}
{{- if or (eq $archive .mountPath) (hasPrefix (printf "%s/" (trimSuffix "/" .mountPath)) $archive) }}{{- $mounted = true }}{{- end }}
{{- end }}
{{- if not $mounted }}
{{- $p = append $p (printf "config.logs.archive: %s is on no volume: leave it out and set archive.enabled: true, or mount one with extraVolumes and extraVolumeMounts" $archive) }}
{{- end }}
{{- end }}
{{- if and .Values.archive.enabled (ne $archive "/var/lib/tekton-listener/logs") }}
{{- $p = append $p (printf "config.logs.archive: %s is not on the volume of archive.enabled: leave one of them out" $archive) }}
{{- end }}
{{- if ne $logs.spool_folder "/var/cache/tekton-listener" }}
{{- $p = append $p "config.logs.spool_folder: the chart sets it; see spool" }}
{{- end }}
{{- if gt (int64 (include "listener.mebibytes" $logs.spool_total)) (int64 (include "listener.mebibytes" .Values.spool.size)) }}
{{- $p = append $p (printf "config.logs.spool_total: %s do not fit into spool.size, %s" $logs.spool_total .Values.spool.size) }}
{{- end }}
{{- toYaml $p }}
{{- end }}

{{/* Collects {where, value} of every key that ends in _file or _env. */}}
{{- define "listener.walk" -}}
{{- $here := . }}
{{- if kindIs "map" .value }}
{{- range $key, $value := .value }}
{{- $_ := include "listener.walk" (dict "value" $value "where" (printf "%s.%s" $here.where $key) "key" $key "found" $here.found) }}
{{- end }}
{{- else if kindIs "slice" .value }}
{{- range $number, $value := .value }}
{{- $_ := include "listener.walk" (dict "value" $value "where" (printf "%s[%d]" $here.where $number) "key" "" "found" $here.found) }}
{{- end }}
{{- else if and (kindIs "string" .value) (or (hasSuffix "_file" .key) (hasSuffix "_env" .key)) }}
{{- $_ := set .found "items" (append .found.items (dict "where" .where "value" .value)) }}
{{- end }}
{{- end }}
