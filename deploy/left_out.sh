# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by deploy.sh: what the chosen options leave out, and how it is deleted.

# What an earlier run with other options may have left, as kind/name. Deleted before the manifests
# are applied: KEDA refuses a workload with another autoscaler, and a Secret that a part may do
# without counts as long as it is there. Deleted once the new parts run: all else, and the Deployment
# that the front end was in earlier versions. Volumes stay because of their data; PriorityClasses,
# builds and images, because other farms may use them.
before=() after=(deployment/headroom-api)
hpa=horizontalpodautoscaler scaled=scaledobject.keda.sh
if has keda; then
    before+=("$hpa/headroom-worker-cpu" "$hpa/headroom-worker-text")
else
    before+=("$scaled/headroom-worker-cpu" "$scaled/headroom-worker-text" "$scaled/headroom-worker-gpu")
    after+=(triggerauthentication.keda.sh/headroom-metrics)
fi
if has gpu; then
    before+=("$hpa/headroom-worker-text" "$scaled/headroom-worker-text")
    after+=(deployment/headroom-worker-text poddisruptionbudget/headroom-worker-text)
else
    before+=("$scaled/headroom-worker-gpu")
    after+=(deployment/headroom-worker-gpu poddisruptionbudget/headroom-worker-gpu)
fi
has openshift || after+=(route.route.openshift.io/headroom-api networkpolicy/headroom-router)
has monitoring ||
    after+=(servicemonitor.monitoring.coreos.com/headroom-api prometheusrule.monitoring.coreos.com/headroom-farm)
has keda || has monitoring || after+=(secret/headroom-metrics)
# A Job cannot be changed, so the one that fetches the model is created again.
before+=(job/headroom-model)
has model || after+=(networkpolicy/headroom-model)
if [ -n "$redis_url" ]; then
    after+=(statefulset/headroom-redis service/headroom-redis networkpolicy/headroom-redis)
else
    after+=(networkpolicy/headroom-external-redis)
fi
[ -n "$state_url" ] || { before+=(secret/headroom-state); after+=(networkpolicy/headroom-external-state); }
[ -n "$pricing_dsn" ] || before+=(secret/headroom-pricing)
[ -n "$policy" ] || after+=(configmap/headroom-policy)
[ -n "$tokens" ] || after+=(secret/headroom-tokens)
[ -n "$hub_token" ] || after+=(secret/headroom-hub)
[ -n "$traced" ] || after+=(networkpolicy/headroom-tracing)
[ "$mode" = proxy ] || after+=(networkpolicy/headroom-proxy)

# Delete these objects, given as kind/name, or kind.group/name for a kind that a cluster may lack.
remove() {
    local object group said
    for object; do
        group=${object%%/*}
        if [[ $group != *.* ]]; then
            said=$(in_namespace delete "$object" --ignore-not-found)
        else
            offers "${group#*.}" || continue
            said=$(in_namespace delete "$object" --ignore-not-found) ||
                { say "$object may not be deleted: if it exists, have it deleted"; continue; }
        fi
        [ -z "$said" ] || say "$said"
        [[ -z $said || $object != secret/* ]] || changed=yes
    done
}
