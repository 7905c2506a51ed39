#!/usr/bin/env bash
# Deploys a working farm into an empty namespace, on Kubernetes or OpenShift. Run it again to
# change or repair a farm, with all its options: correct objects stay unchanged, and what the
# options leave out is deleted. docs/deploy.md has examples.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: deploy/deploy.sh (--images PREFIX | --build) [options]

  --namespace NAME           namespace (headroom-farm); created if missing
  --images PREFIX            use PREFIX/headroom-farm-{api,worker-cpu,worker-gpu}
  --tag TAG                  tag of the images (latest)
  --build                    build them on OpenShift, from this checkout's HEAD
  --model none|pulled        with --build: include the Kompress model in the worker images (none)
  --hub-token-file FILE      with --model pulled (a build secret) or --with model: a token for the hub
  --with COMPONENT           openshift, gpu, keda, monitoring, priority or model; repeatable
  --mode compress|proxy      proxy: also pass clients' requests on to a provider (compress)
  --maas-url URL             with --mode proxy: the provider's base URL (docs/proxy.md)
  --client NAMESPACE         may call the farm: gateway, Prometheus, KEDA; repeatable
  --redis-url-file FILE      use your own Redis, its URL in FILE, instead of deploying one
  --state-url-file FILE      users' state on another Redis or a Cluster, its URL in FILE
  --policy-file FILE         which conversations are compressed, and how (docs/policy.md)
  --tokens-file FILE         require bearer tokens of callers (README.md, Security)
  --metrics-token-file FILE  the token of Prometheus and KEDA; scope books
  --smoke-token-file FILE    the token of the smoke test; scope compress
  --pricing-dsn-file FILE    the metering Postgres, its DSN in FILE
  --set NAME=VALUE           a setting (HEADROOM_...); repeatable
  --timeout SECONDS          time limit of each wait (600)
  --skip-smoke               do not compress anything at the end
  --dry-run                  print every object and change nothing
  --rules                    print deploy/grafana/alerts.yaml as a PrometheusRule, and exit
TEXT
}

say() { printf '%s\n' "deploy: $*" >&2; }
fail() { say "$*"; exit 1; }
wrong() { say "$*"; usage >&2; exit 2; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
known=' openshift gpu keda monitoring priority model '

rules() {
    cat <<'TEXT'
# Generated from deploy/grafana/alerts.yaml; a test compares them. Generate it again with
#   deploy/deploy.sh --rules > deploy/k8s/components/monitoring/rules.yaml
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: headroom-farm
spec:
TEXT
    sed -n '/^groups:/,$s/^/  /p' "$here/grafana/alerts.yaml"
}

# ── options ─────────────────────────────────────────────────────────────────────────

namespace=headroom-farm images='' tag=latest build='' mode=compress maas_url='' model=none hub_token='' redis_url='' state_url=''
policy='' tokens='' metrics_token='' smoke_token='' pricing_dsn='' timeout=600 smoke=yes dry_run=''
with=' ' clients=() settings=()

while [ $# -gt 0 ]; do
    case $1 in
        --build) build=yes; shift; continue ;;
        --skip-smoke) smoke=''; shift; continue ;;
        --dry-run) dry_run=yes; shift; continue ;;
        --rules) rules; exit ;;
        --help | -h) usage; exit ;;
    esac
    [ $# -ge 2 ] || wrong "$1 needs a value, or is not an option"
    case $1 in
        --namespace) namespace=$2 ;;
        --images) images=${2%/} ;;
        --tag) tag=$2 ;;
        --model) model=$2 ;;
        --mode) mode=$2 ;;
        --maas-url) maas_url=$2 ;;
        --hub-token-file) hub_token=$2 ;;
        --with) with="$with$2 " ;;
        --client) clients+=("$2") ;;
        --redis-url-file) redis_url=$2 ;;
        --state-url-file) state_url=$2 ;;
        --policy-file) policy=$2 ;;
        --tokens-file) tokens=$2 ;;
        --metrics-token-file) metrics_token=$2 ;;
        --smoke-token-file) smoke_token=$2 ;;
        --pricing-dsn-file) pricing_dsn=$2 ;;
        --set) settings+=("$2") ;;
        --timeout) timeout=$2 ;;
        *) wrong "no such option: $1" ;;
    esac
    shift 2
done

has() { [[ $with == *" $1 "* ]]; }

for component in $with; do
    [[ $known == *" $component "* ]] || wrong "no such component: $component"
done
[ -n "$images$build" ] || wrong "the images are missing: give --images or --build"
[ -z "$images" ] || [ -z "$build" ] || wrong "--images or --build, not both"
[[ $model == none || $model == pulled ]] || wrong "--model is none or pulled"
[ "$model" = none ] || [ -n "$build" ] || wrong "--model goes with --build; given images have theirs"
[ -z "$hub_token" ] || [ "$model" = pulled ] || has model ||
    wrong "--hub-token-file goes with --model pulled or --with model"
[[ $timeout =~ ^[1-9][0-9]*$ ]] || wrong "--timeout is a number of seconds"
for file in "$hub_token" "$redis_url" "$state_url" "$policy" "$tokens" "$metrics_token" "$smoke_token" "$pricing_dsn"; do
    [ -z "$file" ] || [ -s "$file" ] || wrong "no such file, or an empty one: $file"
done
# The settings of a proxy to one provider, which may have both APIs, and its port.
provider_port=''
if [ "$mode" = proxy ]; then
    [ -n "$maas_url" ] || wrong "--mode proxy needs --maas-url, the provider's base URL"
    # The valid forms of the setting; no password, because the ConfigMap would expose it.
    address='^(https?)://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:([0-9]{1,5}))?(/[[:graph:]]*)?$'
    [[ $maas_url =~ $address && $maas_url != *[![:ascii:]]* ]] ||
        wrong "--maas-url is http:// or https://, a host, perhaps a port and a path, and no password"
    provider_port=${BASH_REMATCH[4]:-$([ "${BASH_REMATCH[1]}" = https ] && echo 443 || echo 80)}
    provider_port=$((10#$provider_port))
    ((provider_port >= 1 && provider_port <= 65535)) || wrong "--maas-url has no such port: $maas_url"
else
    [ "$mode" = compress ] || wrong "--mode is compress or proxy"
    [ -z "$maas_url" ] || wrong "--maas-url goes with --mode proxy"
fi
traced=''
for setting in "${settings[@]}"; do
    [[ $setting =~ ^HEADROOM_[A-Z_]+= ]] || wrong "--set takes HEADROOM_NAME=VALUE, not $setting"
    [[ -z $maas_url || ! $setting =~ ^HEADROOM_(ANTHROPIC|OPENAI)_TARGET_API_URL= ]] ||
        wrong "with --mode proxy, --maas-url sets the provider, not --set ${setting%%=*}"
    [[ $setting != HEADROOM_OTEL_ENDPOINT=?* ]] || traced=yes
done
[ -z "$maas_url" ] ||
    settings+=("ANTHROPIC_TARGET_API_URL=$maas_url" "OPENAI_TARGET_API_URL=$maas_url")
if [ -n "$tokens" ]; then
    ! has keda && ! has monitoring || [ -n "$metrics_token" ] ||
        wrong "with --tokens-file, keda and monitoring need --metrics-token-file"
    [ -z "$smoke" ] || [ -n "$smoke_token" ] ||
        wrong "with --tokens-file, the smoke test needs --smoke-token-file (or --skip-smoke)"
fi

if command -v oc >/dev/null; then cli=oc; elif command -v kubectl >/dev/null; then cli=kubectl; else
    fail "neither oc nor kubectl is here: install one and log in"
fi
in_namespace() { "$cli" --namespace "$namespace" "$@"; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 700 "$work"
parts=(api worker-cpu)
workloads=(statefulset/headroom-api deployment/headroom-worker-cpu)
if has gpu; then
    parts+=(worker-gpu) workloads+=(deployment/headroom-worker-gpu)
else
    workloads+=(deployment/headroom-worker-text)
fi

# shellcheck source=deploy/left_out.sh
. "$here/left_out.sh"

# ── manifests ───────────────────────────────────────────────────────────────────────

# Print the kustomization for the given options.
kustomization() {
    local k8s part reference component
    k8s=$(realpath --relative-to="$work/overlay" "$here/k8s")
    printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n'
    printf 'namespace: %s\nresources: [%s/base%s]\n' "$namespace" "$k8s" "${policy:+, policy.yaml}"
    printf 'labels:\n  - pairs: {app.kubernetes.io/part-of: headroom-farm}\n'
    # The order matters: a component may change objects of an earlier one.
    printf 'components:'
    for component in gpu keda monitoring priority model openshift; do
        has "$component" || continue
        printf '\n  - %s/components/%s' "$k8s" "$component"
        [ "$component" != keda ] || printf '\n  - %s/components/keda-%s' "$k8s" "$(has gpu && echo gpu || echo text)"
    done
    [ -z "$redis_url" ] || printf '\n  - %s/components/external-redis' "$k8s"
    [ -z "$state_url" ] || printf '\n  - %s/components/external-state' "$k8s"
    [ -z "$traced" ] || printf '\n  - %s/components/tracing' "$k8s"
    [ -z "$policy" ] || printf '\n  - %s/components/policy' "$k8s"
    [ -z "$tokens" ] || printf '\n  - %s/components/tokens' "$k8s"
    [ -z "$maas_url" ] || printf '\n  - %s/components/proxy' "$k8s"
    [ -n "$redis_url$state_url$traced$policy$tokens$maas_url${with// /}" ] || printf ' []'
    printf '\nimages:\n'
    for part in "${parts[@]}"; do
        if [ -n "$images" ]; then
            printf '  - {name: headroom-farm-%s, newName: "%s/headroom-farm-%s", newTag: "%s"}\n' \
                "$part" "$images" "$part" "$tag"
        elif [ -s "$work/$part" ]; then
            reference=$(cat "$work/$part")
            printf '  - {name: headroom-farm-%s, newName: "%s", digest: "%s"}\n' \
                "$part" "${reference%@*}" "${reference#*@}"
        else
            printf '  - {name: headroom-farm-%s, newTag: latest}\n' "$part"
        fi
    done
    if [ ${#settings[@]} -gt 0 ]; then
        printf 'patches:\n  - path: settings.yaml\n'
    fi
}

render() {
    local setting
    mkdir -p "$work/overlay"
    kustomization >"$work/overlay/kustomization.yaml"
    if [ -n "$policy" ]; then
        printf 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: headroom-policy\ndata:\n  policy.toml: |2\n'
        sed 's/^/    /' "$policy"
    fi >"$work/overlay/policy.yaml"
    if [ ${#settings[@]} -gt 0 ]; then
        printf 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: headroom-settings\ndata:\n'
        for setting in "${settings[@]}"; do
            printf "  %s: '%s'\n" "${setting%%=*}" "$(printf %s "${setting#*=}" | sed "s/'/''/g")"
        done
        # The component's policy opens 443.
        if [ "${provider_port:-443}" != 443 ]; then
            printf -- '---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: headroom-proxy\n'
            printf 'spec:\n  egress:\n    - ports: [{port: %s}]\n' "$provider_port"
        fi
    fi >"$work/overlay/settings.yaml"
    # KEDA queries from its own namespace, so its triggers must name this one.
    "$cli" kustomize "$work/overlay" |
        sed "s#headroom-api\.headroom-farm\.svc#headroom-api.$namespace.svc#g" >"$work/objects.yaml"
}

render_builds() {
    mkdir -p "$work/builds"
    printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n' >"$work/builds/kustomization.yaml"
    printf 'namespace: %s\ncomponents: [%s]\n' "$namespace" \
        "$(realpath --relative-to="$work/builds" "$here/k8s/components/build")" >>"$work/builds/kustomization.yaml"
    "$cli" kustomize "$work/builds" >"$work/builds.yaml"
}

# Print one line per key of a Secret: name key file.
secrets() {
    printf 'headroom-redis url %s\n' "${redis_url:-$work/url}"
    [ -n "$redis_url" ] || printf 'headroom-redis password %s\n' "$work/password"
    [ -z "$state_url" ] || printf 'headroom-state url %s\n' "$state_url"
    [ -z "$tokens" ] || printf 'headroom-tokens tokens.json %s\n' "$tokens"
    [ -z "$pricing_dsn" ] || printf 'headroom-pricing dsn %s\n' "$pricing_dsn"
    if has keda || has monitoring; then
        printf 'headroom-metrics token %s\n' "${metrics_token:-$work/token}"
    fi
    [ -z "$hub_token" ] || printf 'headroom-hub token %s\n' "$hub_token"
}

if [ -n "$dry_run" ]; then
    say "deletes, if they exist: ${before[*]} ${after[*]}"
    printf 'apiVersion: v1\nkind: Namespace\nmetadata:\n  name: %s\n' "$namespace"
    for client in "${clients[@]}"; do
        printf -- '---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: %s\n  labels: {headroom-farm/client: "true"}\n' "$client"
    done
    for name in $(secrets | cut -d' ' -f1 | sort -u); do
        printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\nstringData:\n' "$name" "$namespace"
        secrets | while read -r secret key _; do
            [ "$secret" != "$name" ] || printf '  %s: (not shown)\n' "$key"
        done
    done
    if [ -n "$build" ]; then
        render_builds
        printf -- '---\n'
        cat "$work/builds.yaml"
    fi
    render
    printf -- '---\n'
    cat "$work/objects.yaml"
    exit
fi

# ── preflight ───────────────────────────────────────────────────────────────────────

offers() { "$cli" api-resources --api-group="$1" --output=name 2>/dev/null | grep -q .; }

in_namespace auth can-i create deployments.apps >/dev/null 2>&1 ||
    fail "no cluster answers, or you may not make Deployments in $namespace: log in with $cli"
if ! "$cli" get namespace "$namespace" >/dev/null 2>&1; then
    "$cli" auth can-i create namespaces >/dev/null 2>&1 ||
        fail "there is no namespace $namespace and you may not make one: have it made"
    missing_namespace=yes
fi
[ -z "$build" ] || offers build.openshift.io || fail "--build needs OpenShift's builds: give --images"
! has openshift || offers route.openshift.io || fail "openshift: this cluster has no Routes"
! has keda || offers keda.sh || fail "keda: this cluster has no KEDA; without it the pools scale by CPU"
! has monitoring || offers monitoring.coreos.com || fail "monitoring: this cluster has no Prometheus operator"
if has priority; then
    "$cli" auth can-i create priorityclasses.scheduling.k8s.io >/dev/null 2>&1 ||
        fail "priority: you may not make PriorityClasses: leave it out, or ask an administrator"
fi
if has gpu; then
    if gpus=$("$cli" get nodes --output='jsonpath={.items[*].status.allocatable.nvidia\.com/gpu}' 2>/dev/null); then
        [[ $gpus =~ [1-9] ]] || fail "gpu: no node offers nvidia.com/gpu: is the device plugin there?"
    else
        say "gpu: you may not see the nodes, so it is not known whether one has a GPU"
    fi
fi
offers metrics.k8s.io || say "no metrics server: scaling by CPU will not work"

# ── namespace and secrets ───────────────────────────────────────────────────────────

[ -z "${missing_namespace:-}" ] || "$cli" create namespace "$namespace"
for client in "${clients[@]}"; do
    "$cli" label namespace "$client" headroom-farm/client=true --overwrite
done

random() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
random >"$work/password"
random >"$work/token"
printf 'redis://headroom-redis:6379/0' >"$work/url"

changed='' restarted=("${workloads[@]}")

# Return whether a Secret exists and has all keys that it needs.
complete() {
    local secret key
    while read -r secret key _; do
        [ "$secret" != "$1" ] || [ -n "$(in_namespace get secret "$1" --output="jsonpath={.data.$key}" 2>/dev/null)" ] || return 1
    done < <(secrets)
}

for name in $(secrets | cut -d' ' -f1 | sort -u); do
    given=()
    random_only=yes
    while read -r secret key file; do
        [ "$secret" = "$name" ] || continue
        given+=("--from-file=$key=$file")
        [[ $file == "$work"/* ]] || random_only=''
    done < <(secrets)
    # An existing password is kept, because the running Redis uses it. The Secret of an external
    # Redis has none: it is replaced.
    if [ -n "$random_only" ] && complete "$name"; then continue; fi
    in_namespace create secret generic "$name" "${given[@]}" --dry-run=client --output=yaml >"$work/secret.yaml"
    said=$(in_namespace apply --filename="$work/secret.yaml")
    say "$said"
    [[ $said == *configured* ]] || continue
    changed=yes
    [[ $name != headroom-redis || -n $redis_url ]] || restarted+=(statefulset/headroom-redis)
done

# ── images ──────────────────────────────────────────────────────────────────────────

if [ -n "$build" ]; then
    render_builds
    in_namespace apply --filename="$work/builds.yaml"
    git -C "$root" archive --format=tar.gz --output="$work/source.tar.gz" HEAD
    for part in "${parts[@]}"; do
        in_namespace start-build "headroom-farm-$part" --from-archive="$work/source.tar.gz" \
            --build-arg="MODEL=$model" --follow --wait ||
            fail "the build of $part failed: $cli --namespace $namespace logs buildconfig/headroom-farm-$part"
        in_namespace get imagestreamtag "headroom-farm-$part:latest" \
            --output='jsonpath={.image.dockerImageReference}' >"$work/$part"
    done
fi

# ── apply and wait ──────────────────────────────────────────────────────────────────

render
remove "${before[@]}"
said=$(in_namespace apply --filename="$work/objects.yaml") || fail "not applied: see above"
printf '%s\n' "$said"
[[ $said != *'configmap/headroom-settings configured'* ]] || changed=yes
if [ -n "$changed" ]; then
    say "settings or secrets changed: restarting the parts one by one"
    in_namespace rollout restart "${restarted[@]}"
fi
[ -n "$redis_url" ] || workloads=(statefulset/headroom-redis "${workloads[@]}")
for workload in "${workloads[@]}"; do
    if ! in_namespace rollout status "$workload" --timeout="${timeout}s"; then
        in_namespace get pods --selector=app.kubernetes.io/part-of=headroom-farm >&2 || true
        fail "$workload is not ready after $timeout s: docs/runbook.md, 'A rollout does not finish'"
    fi
done
remove "${after[@]}"

# ── smoke test ──────────────────────────────────────────────────────────────────────

[ -n "$smoke" ] || { say "applied; the smoke test was skipped"; exit; }
url=http://127.0.0.1:8788
front_end=(exec -i statefulset/headroom-api --container=api -- headroom-farm)
provider=()
! has gpu || provider=(--provider cuda)
in_namespace "${front_end[@]}" check farm "$url" --wait "$timeout" "${provider[@]}" </dev/null ||
    fail "the farm is not whole: see above and docs/runbook.md"
state=$(in_namespace "${front_end[@]}" bypass status </dev/null)
[[ $state == off* ]] || fail "the emergency switch is $state"
if [ -n "$smoke_token" ]; then
    in_namespace "${front_end[@]}" demo "$url" --token-file - <"$smoke_token"
else
    in_namespace "${front_end[@]}" demo "$url" </dev/null
fi || fail "the farm runs and does not compress: docs/runbook.md, 'Nothing is saved'"
if has gpu; then
    said=$(in_namespace exec deployment/headroom-worker-gpu --container=worker -- headroom-farm models check /model) ||
        fail "the model does not run on the GPU worker"
    printf '%s\n' "$said"
    [[ $said =~ provider[[:space:]]+cuda ]] || fail "the batch did not run on CUDA"
fi
say "the farm in $namespace compresses"
