package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	authzv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// propagation is how long a role, a binding or a deletion may take to be heeded.
const propagation = 15 * time.Second

// as makes a client that has nothing but a token.
func (w *world) as(token string) (kubernetes.Interface, error) {
	c := rest.AnonymousClientConfig(w.config)
	c.BearerToken = token
	c.QPS, c.Burst = clientQPS, clientBurst
	return kubernetes.NewForConfig(c)
}

func (w *world) token(ctx context.Context, account string, spec authv1.TokenRequestSpec) (*authv1.TokenRequest, error) {
	return w.typed.CoreV1().ServiceAccounts(w.ns).CreateToken(ctx, account, &authv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
}

// tokens: a ServiceAccount's token says who it is, may what a binding says, and dies with what it is bound to.
func tokens(ctx context.Context, w *world) error {
	accounts := w.typed.CoreV1().ServiceAccounts(w.ns)
	robot, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	seconds := int64(900)
	t, err := w.token(ctx, "robot", authv1.TokenRequestSpec{ExpirationSeconds: &seconds})
	if err != nil {
		return err
	}
	left := time.Until(t.Status.ExpirationTimestamp.Time)
	if strings.Count(t.Status.Token, ".") != 2 || left < 890*time.Second || left > 910*time.Second || len(t.Spec.Audiences) == 0 {
		return fmt.Errorf("token of %d bytes for %s, audiences %v", len(t.Status.Token), left, t.Spec.Audiences)
	}
	client, err := w.as(t.Status.Token)
	if err != nil {
		return err
	}
	name := "system:serviceaccount:" + w.ns + ":robot"
	if err := whoAmI(ctx, w, client, name, robot); err != nil {
		return err
	}
	if err := reviewed(ctx, w, t.Status.Token, name); err != nil {
		return err
	}
	if err := allowed(ctx, w, client, name); err != nil {
		return err
	}
	return ends(ctx, w, client)
}

func whoAmI(ctx context.Context, w *world, client kubernetes.Interface, name string, robot *corev1.ServiceAccount) error {
	me, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("who am I: %w", err)
	}
	u := me.Status.UserInfo
	if u.Username != name || u.UID != string(robot.UID) {
		return fmt.Errorf("the token is %q %q", u.Username, u.UID)
	}
	for _, g := range []string{"system:serviceaccounts", "system:serviceaccounts:" + w.ns, "system:authenticated"} {
		if !slices.Contains(u.Groups, g) {
			return fmt.Errorf("the token is not in %s: %v", g, u.Groups)
		}
	}
	return nil
}

func reviewed(ctx context.Context, w *world, token, name string) error {
	review := func(spec authv1.TokenReviewSpec) (*authv1.TokenReview, error) {
		return w.typed.AuthenticationV1().TokenReviews().Create(ctx, &authv1.TokenReview{Spec: spec}, metav1.CreateOptions{})
	}
	r, err := review(authv1.TokenReviewSpec{Token: token})
	if err != nil {
		return err
	}
	if !r.Status.Authenticated || r.Status.User.Username != name {
		return fmt.Errorf("review of the token: %v", r.Status)
	}
	if r, err = review(authv1.TokenReviewSpec{Token: token, Audiences: []string{"https://elsewhere.invalid"}}); err != nil {
		return err
	}
	if r.Status.Authenticated {
		return fmt.Errorf("the token is taken for another audience")
	}
	if r, err = review(authv1.TokenReviewSpec{Token: token[:len(token)-4] + "AAAA"}); err != nil {
		return err
	}
	if r.Status.Authenticated {
		return fmt.Errorf("a forged token is taken")
	}
	short := int64(60)
	_, err = w.token(ctx, "robot", authv1.TokenRequestSpec{ExpirationSeconds: &short})
	if _, err := refused("a token for a minute", err, 422, metav1.StatusReasonInvalid); err != nil {
		return err
	}
	_, err = w.token(ctx, "absent", authv1.TokenRequestSpec{})
	_, err = refused("a token of nobody", err, 404, metav1.StatusReasonNotFound)
	return err
}

// allowed: Forbidden, until a RoleBinding says otherwise, and again after it is gone.
func allowed(ctx context.Context, w *world, client kubernetes.Interface, name string) error {
	list := func() error {
		_, err := client.CoreV1().ConfigMaps(w.ns).List(ctx, metav1.ListOptions{})
		return err
	}
	s, err := refused("before a binding", list(), 403, metav1.StatusReasonForbidden)
	if err != nil {
		return err
	}
	want := fmt.Sprintf(`configmaps is forbidden: User %q cannot list resource "configmaps" in API group "" in the namespace %q`, name, w.ns)
	if err := differ("message before a binding", s.Message, want); err != nil {
		return err
	}
	rbac := w.typed.RbacV1()
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "list"}}},
	}
	if _, err := rbac.Roles(w.ns).Create(ctx, role, metav1.CreateOptions{}); err != nil {
		return err
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "robot", Namespace: w.ns}},
	}
	if _, err := rbac.RoleBindings(w.ns).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := eventually(ctx, "the binding is heeded", propagation, list); err != nil {
		return err
	}
	_, err = client.CoreV1().ConfigMaps(w.ns).Create(ctx, configMap("x", nil), metav1.CreateOptions{})
	if _, err := refused("what the role does not say", err, 403, metav1.StatusReasonForbidden); err != nil {
		return err
	}
	_, err = client.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
	if _, err := refused("another namespace", err, 403, metav1.StatusReasonForbidden); err != nil {
		return err
	}
	for verb, want := range map[string]bool{"list": true, "delete": false} {
		review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authzv1.SelfSubjectAccessReview{
			Spec: authzv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authzv1.ResourceAttributes{
				Namespace: w.ns, Verb: verb, Resource: "configmaps",
			}},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		if err := differ("may I "+verb, review.Status.Allowed, want); err != nil {
			return err
		}
	}
	if err := escalation(ctx, w, client); err != nil {
		return err
	}
	if err := rbac.RoleBindings(w.ns).Delete(ctx, "reader", metav1.DeleteOptions{}); err != nil {
		return err
	}
	return eventually(ctx, "the binding's end is heeded", propagation, func() error {
		if err := list(); !apierrors.IsForbidden(err) {
			return fmt.Errorf("list: %v", err)
		}
		return nil
	})
}

// escalation: who may write roles may still not grant what they do not have.
func escalation(ctx context.Context, w *world, client kubernetes.Interface) error {
	rbac := w.typed.RbacV1()
	_, err := rbac.Roles(w.ns).Create(ctx, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "role-writer"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles"}, Verbs: []string{"create", "list"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = rbac.RoleBindings(w.ns).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "role-writer"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "role-writer"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "robot", Namespace: w.ns}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	mine := client.RbacV1().Roles(w.ns)
	err = eventually(ctx, "the role writer's binding is heeded", propagation, func() error {
		_, err := mine.List(ctx, metav1.ListOptions{})
		return err
	})
	if err != nil {
		return err
	}
	role := func(name, verb string) *rbacv1.Role {
		return &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{verb}}},
		}
	}
	if _, err := mine.Create(ctx, role("within", "list"), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("a role within one's own: %w", err)
	}
	_, err = mine.Create(ctx, role("beyond", "delete"), metav1.CreateOptions{})
	_, err = refused("a role beyond one's own", err, 403, metav1.StatusReasonForbidden)
	return err
}

// ends: a token bound to a Secret ends with it, and every token ends with its account.
func ends(ctx context.Context, w *world, client kubernetes.Interface) error {
	secrets := w.typed.CoreV1().Secrets(w.ns)
	s, err := secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "anchor"}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	t, err := w.token(ctx, "robot", authv1.TokenRequestSpec{
		BoundObjectRef: &authv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: s.Name, UID: s.UID},
	})
	if err != nil {
		return err
	}
	bound, err := w.as(t.Status.Token)
	if err != nil {
		return err
	}
	who := func(c kubernetes.Interface) error {
		_, err := c.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authv1.SelfSubjectReview{}, metav1.CreateOptions{})
		return err
	}
	if err := who(bound); err != nil {
		return fmt.Errorf("a token bound to a Secret: %w", err)
	}
	dead := func(what string, c kubernetes.Interface) error {
		return eventually(ctx, what, propagation, func() error {
			if err := who(c); !apierrors.IsUnauthorized(err) {
				return fmt.Errorf("who am I: %v", err)
			}
			return nil
		})
	}
	if err := secrets.Delete(ctx, s.Name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	if err := dead("the bound token ends with its Secret", bound); err != nil {
		return err
	}
	if err := who(client); err != nil {
		return fmt.Errorf("the other token: %w", err)
	}
	if err := w.typed.CoreV1().ServiceAccounts(w.ns).Delete(ctx, "robot", metav1.DeleteOptions{}); err != nil {
		return err
	}
	return dead("the token ends with its account", client)
}
