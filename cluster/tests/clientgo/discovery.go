package main

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/openapi3"
	"k8s.io/client-go/restmapper"
)

// surface is every served resource: '*' is cluster-scoped, brackets hold subresources.
var surface = map[string]string{
	"v1":                              "bindings componentstatuses* configmaps endpoints events limitranges namespaces*[finalize,status] nodes*[proxy,status] persistentvolumeclaims[status] persistentvolumes*[status] pods[attach,binding,ephemeralcontainers,eviction,exec,log,portforward,proxy,resize,status] podtemplates replicationcontrollers[scale,status] resourcequotas[status] secrets serviceaccounts[token] services[proxy,status]",
	"admissionregistration.k8s.io/v1": "mutatingwebhookconfigurations* validatingwebhookconfigurations* validatingadmissionpolicies*[status] validatingadmissionpolicybindings*",
	"apiextensions.k8s.io/v1":         "customresourcedefinitions*[status]",
	"apiregistration.k8s.io/v1":       "apiservices*[status]",
	"apps/v1":                         "controllerrevisions daemonsets[status] deployments[scale,status] replicasets[scale,status] statefulsets[scale,status]",
	"authentication.k8s.io/v1":        "selfsubjectreviews* tokenreviews*",
	"authorization.k8s.io/v1":         "localsubjectaccessreviews selfsubjectaccessreviews* selfsubjectrulesreviews* subjectaccessreviews*",
	"autoscaling/v1":                  "horizontalpodautoscalers[status]",
	"autoscaling/v2":                  "horizontalpodautoscalers[status]",
	"batch/v1":                        "cronjobs[status] jobs[status]",
	"certificates.k8s.io/v1":          "certificatesigningrequests*[approval,status]",
	"coordination.k8s.io/v1":          "leases",
	"discovery.k8s.io/v1":             "endpointslices",
	"events.k8s.io/v1":                "events",
	"flowcontrol.apiserver.k8s.io/v1": "flowschemas*[status] prioritylevelconfigurations*[status]",
	"networking.k8s.io/v1":            "ingressclasses* ingresses[status] ipaddresses* networkpolicies servicecidrs*[status]",
	"node.k8s.io/v1":                  "runtimeclasses*",
	"policy/v1":                       "poddisruptionbudgets[status]",
	"rbac.authorization.k8s.io/v1":    "clusterroles* clusterrolebindings* roles rolebindings",
	"resource.k8s.io/v1":              "deviceclasses* resourceclaims[status] resourceclaimtemplates resourceslices*",
	"scheduling.k8s.io/v1":            "priorityclasses*",
	"storage.k8s.io/v1":               "csidrivers* csinodes* csistoragecapacities storageclasses* volumeattachments*[status] volumeattributesclasses*",
}

// expected expands the table to "group/version resource scope".
func expected() []string {
	word := regexp.MustCompile(`^([a-z]+)(\*?)(?:\[([a-z,]+)\])?$`)
	var all []string
	for group, row := range surface {
		for _, entry := range strings.Fields(row) {
			m := word.FindStringSubmatch(entry)
			scope := "namespaced"
			if m[2] == "*" {
				scope = "cluster"
			}
			all = append(all, fmt.Sprintf("%s %s %s", group, m[1], scope))
			for _, sub := range strings.Split(m[3], ",") {
				if sub != "" {
					all = append(all, fmt.Sprintf("%s %s/%s %s", group, m[1], sub, scope))
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

// discoveryAndMapper: the aggregated form tells the whole surface, and a RESTMapper finds kinds by it.
func discoveryAndMapper(ctx context.Context, w *world) error {
	client, err := discovery.NewDiscoveryClientForConfig(w.config)
	if err != nil {
		return err
	}
	_, lists, err := client.ServerGroupsAndResources()
	if err != nil {
		return err
	}
	var got []string
	for _, l := range lists {
		for _, r := range l.APIResources {
			scope := "cluster"
			if r.Namespaced {
				scope = "namespaced"
			}
			if !strings.Contains(r.Name, "/") && (r.Kind == "" || len(r.Verbs) == 0 || r.SingularName == "") {
				return fmt.Errorf("%s %s: kind %q, verbs %v, singular %q", l.GroupVersion, r.Name, r.Kind, r.Verbs, r.SingularName)
			}
			got = append(got, fmt.Sprintf("%s %s %s", l.GroupVersion, r.Name, scope))
		}
	}
	var missing []string
	for _, x := range expected() {
		if !slices.Contains(got, x) {
			missing = append(missing, x)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("discovery lacks: %s", strings.Join(missing, "; "))
	}
	aggregated := w.seen.find(func(e exchange) bool {
		return strings.Contains(e.contentType, "as=APIGroupDiscoveryList") && strings.Contains(e.contentType, "v=v2")
	})
	if len(aggregated) != 2 {
		return fmt.Errorf("aggregated discovery: want /api and /apis, got %v", aggregated)
	}
	version, err := client.ServerVersion()
	if err != nil {
		return err
	}
	if version.Major != "1" || !strings.HasPrefix(version.GitVersion, "v1.") {
		return fmt.Errorf("version %v", version)
	}
	if err := unaggregated(client, lists); err != nil {
		return err
	}
	return mapper(client)
}

// unaggregated: the older form, which some clients still ask for, says the same.
func unaggregated(client *discovery.DiscoveryClient, lists []*metav1.APIResourceList) error {
	legacy := client.WithLegacy()
	groups, err := legacy.ServerGroups()
	if err != nil {
		return err
	}
	if len(groups.Groups) < len(surface)-1 {
		return fmt.Errorf("old discovery tells %d groups", len(groups.Groups))
	}
	for _, want := range lists {
		got, err := legacy.ServerResourcesForGroupVersion(want.GroupVersion)
		if err != nil {
			return fmt.Errorf("old discovery of %s: %w", want.GroupVersion, err)
		}
		sum := func(l *metav1.APIResourceList) string {
			var all []string
			for _, r := range l.APIResources {
				slices.Sort(r.Verbs)
				slices.Sort(r.ShortNames)
				all = append(all, fmt.Sprint(r.Name, r.Namespaced, r.Kind, r.Verbs, r.ShortNames, r.Categories))
			}
			slices.Sort(all)
			return lines(all)
		}
		if err := differ("old discovery of "+want.GroupVersion, sum(got), sum(want)); err != nil {
			return err
		}
	}
	return nil
}

func mapper(client *discovery.DiscoveryClient) error {
	deferred := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client))
	short := restmapper.NewShortcutExpander(deferred, client, nil)
	for in, want := range map[string]string{
		"deployments": "apps/v1, Resource=deployments", "deploy": "apps/v1, Resource=deployments",
		"po": "/v1, Resource=pods", "cm": "/v1, Resource=configmaps", "no": "/v1, Resource=nodes",
		"svc": "/v1, Resource=services", "ing": "networking.k8s.io/v1, Resource=ingresses",
		"pdb": "policy/v1, Resource=poddisruptionbudgets", "sts": "apps/v1, Resource=statefulsets",
		"hpa": "autoscaling/v2, Resource=horizontalpodautoscalers", "cj": "batch/v1, Resource=cronjobs",
		"node": "/v1, Resource=nodes", "crd": "apiextensions.k8s.io/v1, Resource=customresourcedefinitions",
	} {
		got, err := short.ResourceFor(schema.GroupVersionResource{Resource: in})
		if err != nil {
			return fmt.Errorf("map %q: %w", in, err)
		}
		if err := differ("map "+in, got.String(), want); err != nil {
			return err
		}
	}
	m, err := deferred.RESTMapping(schema.GroupKind{Group: "apps", Kind: "Deployment"})
	if err != nil {
		return err
	}
	if err := differ("Deployment", m.Resource.String()+" "+string(m.Scope.Name()), "apps/v1, Resource=deployments namespace"); err != nil {
		return err
	}
	expand := restmapper.NewDiscoveryCategoryExpander(client)
	all, ok := expand.Expand("all")
	if !ok {
		return fmt.Errorf("there is no category all")
	}
	for _, want := range []schema.GroupResource{{Resource: "pods"}, {Resource: "services"}, {Group: "apps", Resource: "deployments"}, {Group: "batch", Resource: "jobs"}} {
		if !slices.Contains(all, want) {
			return fmt.Errorf("category all lacks %s", want)
		}
	}
	return nil
}

// openAPI: v3 of every group version parses, holds its kinds, and is addressed by hash; v2 parses as protobuf.
func openAPI(ctx context.Context, w *world) error {
	client, err := discovery.NewDiscoveryClientForConfig(w.config)
	if err != nil {
		return err
	}
	paths, err := client.OpenAPIV3().Paths()
	if err != nil {
		return err
	}
	root := openapi3.NewRoot(client.OpenAPIV3())
	for group := range surface {
		path := "apis/" + group
		if group == "v1" {
			path = "api/v1"
		}
		g, ok := paths[path]
		if !ok {
			return fmt.Errorf("openapi v3 lacks %s", path)
		}
		if !strings.Contains(g.ServerRelativeURL(), "hash=") {
			return fmt.Errorf("openapi v3: %s is at %s, without a hash", path, g.ServerRelativeURL())
		}
		gv, err := schema.ParseGroupVersion(group)
		if err != nil {
			return err
		}
		spec, err := root.GVSpec(gv)
		if err != nil {
			return fmt.Errorf("openapi v3 of %s: %w", group, err)
		}
		if spec.Paths == nil || len(spec.Paths.Paths) == 0 || spec.Components == nil || len(spec.Components.Schemas) == 0 {
			return fmt.Errorf("openapi v3 of %s is empty", group)
		}
	}
	if err := deploymentSchema(root); err != nil {
		return err
	}
	v2, err := client.OpenAPISchema()
	if err != nil {
		return fmt.Errorf("openapi v2: %w", err)
	}
	for _, d := range v2.GetDefinitions().GetAdditionalProperties() {
		if d.GetName() == "io.k8s.api.apps.v1.Deployment" {
			return nil
		}
	}
	return fmt.Errorf("openapi v2 lacks Deployment")
}

func deploymentSchema(root openapi3.Root) error {
	spec, err := root.GVSpec(schema.GroupVersion{Group: "apps", Version: "v1"})
	if err != nil {
		return err
	}
	d, ok := spec.Components.Schemas["io.k8s.api.apps.v1.Deployment"]
	if !ok {
		return fmt.Errorf("openapi v3 of apps/v1 lacks Deployment")
	}
	var kinds []metav1.GroupVersionKind
	raw, err := json.Marshal(d.Extensions["x-kubernetes-group-version-kind"])
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &kinds); err != nil {
		return fmt.Errorf("x-kubernetes-group-version-kind %s: %w", raw, err)
	}
	if err := differ("kinds of Deployment", kinds, []metav1.GroupVersionKind{{Group: "apps", Version: "v1", Kind: "Deployment"}}); err != nil {
		return err
	}
	pod, ok := spec.Components.Schemas["io.k8s.api.core.v1.PodSpec"]
	if !ok {
		return fmt.Errorf("openapi v3 of apps/v1 lacks PodSpec")
	}
	c := pod.Properties["containers"]
	if err := differ("patch key of containers", c.Extensions["x-kubernetes-patch-merge-key"], "name"); err != nil {
		return err
	}
	if err := differ("required of PodSpec", pod.Required, []string{"containers"}); err != nil {
		return err
	}
	if d.Description == "" || c.Description == "" {
		return fmt.Errorf("schemas have no descriptions")
	}
	return nil
}
