package main

import (
	"context"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// as makes every call of a connection carry a token.
func as(token *string) (grpc.DialOption, grpc.DialOption) {
	with := func(ctx context.Context) context.Context {
		if *token != "" {
			return metadata.AppendToOutgoingContext(ctx, "token", *token)
		}
		return ctx
	}
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, m string, q, r any, c *grpc.ClientConn, next grpc.UnaryInvoker, o ...grpc.CallOption) error {
			return next(with(ctx), m, q, r, c, o...)
		}), grpc.WithChainStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, c *grpc.ClientConn, m string, next grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
			return next(with(ctx), d, c, m, o...)
		})
}

func authPart(w *world) {
	a := pb.NewAuthClient(w.conn)
	kv := pb.NewKVClient(w.conn)
	call(w, "status", a.AuthStatus, &pb.AuthStatusRequest{})
	call(w, "enable without root", a.AuthEnable, &pb.AuthEnableRequest{})
	call(w, "disable what is off", a.AuthDisable, &pb.AuthDisableRequest{})
	call(w, "authenticate while off", a.Authenticate, &pb.AuthenticateRequest{Name: "root", Password: "x"})
	for _, q := range []*pb.AuthUserAddRequest{
		{}, {Name: "root", Password: "rootpw"}, {Name: "root", Password: "rootpw"}, {Name: "alice", Password: "alicepw"},
		{Name: "nopass", Options: &authpb.UserAddOptions{NoPassword: true}}, {Name: "bob"}, {Name: "both", Password: "x", Options: &authpb.UserAddOptions{NoPassword: true}},
		{Name: "hashed", HashedPassword: "JDJhJDEwJGFiY2RlZg=="}, {Name: "ümlaut", Password: "ü"},
	} {
		call(w, fmt.Sprintf("add user %q", q.Name), a.UserAdd, q)
	}
	call(w, "enable without the role", a.AuthEnable, &pb.AuthEnableRequest{})
	for _, name := range []string{"", "root", "root", "reader", "keeper", "all"} {
		call(w, fmt.Sprintf("add role %q", name), a.RoleAdd, &pb.AuthRoleAddRequest{Name: name})
	}
	for n, q := range []*pb.AuthRoleGrantPermissionRequest{
		{}, {Name: "reader"}, {Name: "none", Perm: &authpb.Permission{Key: b("a")}},
		{Name: "reader", Perm: &authpb.Permission{}},
		{Name: "reader", Perm: &authpb.Permission{Key: b("p/"), RangeEnd: b("p0"), PermType: authpb.READ}},
		{Name: "reader", Perm: &authpb.Permission{Key: b("q"), PermType: authpb.READ}},
		{Name: "reader", Perm: &authpb.Permission{Key: b("m"), RangeEnd: b("n"), PermType: authpb.READ}},
		{Name: "reader", Perm: &authpb.Permission{Key: b("n"), RangeEnd: b("o"), PermType: authpb.READ}},
		{Name: "reader", Perm: &authpb.Permission{Key: b("z"), RangeEnd: b("a"), PermType: authpb.READ}},
		{Name: "reader", Perm: &authpb.Permission{Key: b("z"), RangeEnd: b("z"), PermType: authpb.READ}},
		{Name: "reader", Perm: &authpb.Permission{Key: b("q"), PermType: 9}},
		{Name: "keeper", Perm: &authpb.Permission{Key: b("p/1"), RangeEnd: b("p/5"), PermType: authpb.WRITE}},
		{Name: "keeper", Perm: &authpb.Permission{Key: b("w"), PermType: authpb.READWRITE}},
		{Name: "all", Perm: &authpb.Permission{Key: []byte{0}, RangeEnd: []byte{0}, PermType: authpb.READWRITE}},
		{Name: "root", Perm: &authpb.Permission{Key: b("x")}},
	} {
		call(w, fmt.Sprintf("grant permission %d", n), a.RoleGrantPermission, q)
	}
	for n, q := range []*pb.AuthRoleRevokePermissionRequest{
		{}, {Role: "reader", Key: b("none")}, {Role: "none", Key: b("q")}, {Role: "reader", Key: b("q")}, {Role: "reader", Key: b("p/"), RangeEnd: b("p9")},
	} {
		call(w, fmt.Sprintf("revoke permission %d", n), a.RoleRevokePermission, q)
	}
	for _, q := range []*pb.AuthUserGrantRoleRequest{
		{}, {User: "root", Role: "root"}, {User: "root", Role: "root"}, {User: "alice", Role: "reader"}, {User: "alice", Role: "keeper"},
		{User: "none", Role: "reader"}, {User: "alice", Role: "none"}, {User: "bob", Role: "all"}, {User: "nopass", Role: "reader"}, {User: "none", Role: "root"},
	} {
		call(w, fmt.Sprintf("grant %q to %q", q.Role, q.User), a.UserGrantRole, q)
	}
	call(w, "revoke a role not held", a.UserRevokeRole, &pb.AuthUserRevokeRoleRequest{Name: "bob", Role: "reader"})
	call(w, "get alice", a.UserGet, &pb.AuthUserGetRequest{Name: "alice"})
	call(w, "get nobody", a.UserGet, &pb.AuthUserGetRequest{})
	call(w, "get reader", a.RoleGet, &pb.AuthRoleGetRequest{Role: "reader"})
	call(w, "get no role", a.RoleGet, &pb.AuthRoleGetRequest{})
	call(w, "users", a.UserList, &pb.AuthUserListRequest{})
	call(w, "roles", a.RoleList, &pb.AuthRoleListRequest{})
	for n := range 6 {
		w.put(fmt.Sprintf("p/%d", n), "x")
	}
	w.put("other", "x")
	call(w, "enable", a.AuthEnable, &pb.AuthEnableRequest{})
	call(w, "enable twice", a.AuthEnable, &pb.AuthEnableRequest{})
	call(w, "status when on", a.AuthStatus, &pb.AuthStatusRequest{})
	call(w, "nobody reads", kv.Range, get("p/1"))
	everyService(w, "nobody", w.conn)
	for _, q := range []*pb.AuthenticateRequest{
		{}, {Name: "alice"}, {Name: "alice", Password: "wrong"}, {Name: "none", Password: "x"}, {Name: "nopass", Password: "x"}, {Name: "bob"},
	} {
		call(w, fmt.Sprintf("authenticate %q %q", q.Name, q.Password), a.Authenticate, q)
	}
	tokens := map[string]string{}
	for _, name := range []string{"root", "alice"} {
		w.bounded(func(ctx context.Context) {
			r, err := a.Authenticate(ctx, &pb.AuthenticateRequest{Name: name, Password: name + "pw"})
			tokens[name] = r.GetToken()
			letters, number, dot := strings.Cut(r.GetToken(), ".")
			w.tell("the shape of the token of "+name, dot && len(letters) == 16 && number != "", err)
		})
	}
	alice := w.dialAs(tokens["alice"])
	asAlice(w, alice)
	everyService(w, "alice", alice)
	everyService(w, "a stranger", w.dialAs("frobfrobfrobfrob.1"))
	root := w.dialAs(tokens["root"])
	ra := pb.NewAuthClient(root)
	call(w, "delete root", ra.UserDelete, &pb.AuthUserDeleteRequest{Name: "root"})
	call(w, "delete the role of root", ra.RoleDelete, &pb.AuthRoleDeleteRequest{Role: "root"})
	call(w, "take the role of root", ra.UserRevokeRole, &pb.AuthUserRevokeRoleRequest{Name: "root", Role: "root"})
	call(w, "change alice's password", ra.UserChangePassword, &pb.AuthUserChangePasswordRequest{Name: "alice", Password: "fresh"})
	call(w, "change nobody's password", ra.UserChangePassword, &pb.AuthUserChangePasswordRequest{Name: "none", Password: "x"})
	call(w, "change to an empty one", ra.UserChangePassword, &pb.AuthUserChangePasswordRequest{Name: "bob"})
	call(w, "alice's token is gone", pb.NewKVClient(alice).Range, get("p/1"))
	w.bounded(func(ctx context.Context) {
		c := newClient(w.endpoints[:1], "alice", "fresh")
		defer c.Close()
		r, err := c.Get(ctx, "p/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		w.tell("alice by the client", (*pb.RangeResponse)(r), err)
		call(w, "a role changes under her", ra.RoleRevokePermission, &pb.AuthRoleRevokePermissionRequest{Role: "reader", Key: b("p/"), RangeEnd: b("p0")})
		r, err = c.Get(ctx, "p/", clientv3.WithPrefix())
		w.tell("and she may no more", (*pb.RangeResponse)(r), err)
	})
	call(w, "delete alice", ra.UserDelete, &pb.AuthUserDeleteRequest{Name: "alice"})
	call(w, "delete her twice", ra.UserDelete, &pb.AuthUserDeleteRequest{Name: "alice"})
	call(w, "delete a role", ra.RoleDelete, &pb.AuthRoleDeleteRequest{Role: "all"})
	call(w, "bob has none", ra.UserGet, &pb.AuthUserGetRequest{Name: "bob"})
	call(w, "status by root", ra.AuthStatus, &pb.AuthStatusRequest{})
	call(w, "disable", ra.AuthDisable, &pb.AuthDisableRequest{})
	call(w, "status when off", a.AuthStatus, &pb.AuthStatusRequest{})
	call(w, "anyone reads", kv.Range, get("other"))
}

func (w *world) dialAs(token string) *grpc.ClientConn {
	unary, stream := as(&token)
	conn, err := grpc.NewClient("passthrough:///"+w.endpoints[0], grpc.WithTransportCredentials(insecure.NewCredentials()), unary, stream)
	if err != nil {
		fail("dial", err)
	}
	return conn
}

func asAlice(w *world, conn *grpc.ClientConn) {
	kv := pb.NewKVClient(conn)
	for n, q := range []*pb.RangeRequest{
		get("p/1"), get("other"), {Key: b("p/"), RangeEnd: b("p0")}, {Key: b("p/"), RangeEnd: b("q")}, {Key: b("m"), RangeEnd: b("o")},
		{Key: b("m"), RangeEnd: b("oo")}, {Key: b("p/"), RangeEnd: []byte{0}}, {Key: b("w")}, {Key: b("none")}, {Key: b("p/"), RangeEnd: b("p0"), CountOnly: true},
		{Key: b("p/1"), Serializable: true}, {Key: b("other"), Serializable: true}, {},
	} {
		call(w, fmt.Sprintf("alice reads %d", n), kv.Range, q)
	}
	for n, q := range []*pb.PutRequest{set("p/1", "y"), set("p/0", "y"), set("w", "y"), {Key: b("p/1"), PrevKv: true}, {Key: b("p/1"), IgnoreValue: true}, {Key: b("p/1"), Lease: 99}} {
		call(w, fmt.Sprintf("alice writes %d", n), kv.Put, q)
	}
	for n, q := range []*pb.DeleteRangeRequest{{Key: b("p/1")}, {Key: b("p/2"), PrevKv: true}, {Key: b("p/"), RangeEnd: b("p0")}, {Key: b("p/3"), RangeEnd: b("p/5")}} {
		call(w, fmt.Sprintf("alice deletes %d", n), kv.DeleteRange, q)
	}
	secret := &pb.Compare{Key: b("other"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: b("x")}}
	for n, q := range []*pb.TxnRequest{
		then(get("p/1"), set("p/1", "z")), then(get("other")), {Failure: ops(get("other"))}, {Compare: []*pb.Compare{secret}},
		then(&pb.TxnRequest{Success: ops(set("other", "z"))}), then(&pb.TxnRequest{Failure: ops(get("other"))}), then(&pb.TxnRequest{Compare: []*pb.Compare{secret}}), {},
	} {
		call(w, fmt.Sprintf("alice's txn %d", n), kv.Txn, q)
	}
	as := *w
	as.conn = conn
	s := as.watching()
	s.create(&pb.WatchCreateRequest{Key: b("p/"), RangeEnd: b("p0")})
	s.next("alice watches")
	s.create(&pb.WatchCreateRequest{Key: b("other")})
	s.next("alice watches what she may not")
	s.cancel()
}

// everyService asks each service for something small as somebody.
func everyService(w *world, who string, conn *grpc.ClientConn) {
	c, m, l, a := pb.NewClusterClient(conn), pb.NewMaintenanceClient(conn), pb.NewLeaseClient(conn), pb.NewAuthClient(conn)
	call(w, who+": compact", pb.NewKVClient(conn).Compact, &pb.CompactionRequest{Revision: 1})
	call(w, who+": list members", c.MemberList, &pb.MemberListRequest{})
	call(w, who+": add a member", c.MemberAdd, &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1"}})
	call(w, who+": remove a member", c.MemberRemove, &pb.MemberRemoveRequest{ID: 7})
	call(w, who+": alarms", m.Alarm, &pb.AlarmRequest{})
	call(w, who+": raise an alarm", m.Alarm, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType_NOSPACE})
	call(w, who+": status", m.Status, &pb.StatusRequest{})
	call(w, who+": defragment", m.Defragment, &pb.DefragmentRequest{})
	w.bounded(func(ctx context.Context) {
		_, err := m.HashKV(ctx, &pb.HashKVRequest{})
		w.tell(who+": hashkv", true, err)
		_, err = m.Hash(ctx, &pb.HashRequest{})
		w.tell(who+": hash", true, err)
	})
	call(w, who+": move the leader", m.MoveLeader, &pb.MoveLeaderRequest{TargetID: 7})
	call(w, who+": downgrade", m.Downgrade, &pb.DowngradeRequest{Version: "3.6"})
	call(w, who+": grant", l.LeaseGrant, &pb.LeaseGrantRequest{ID: 0x51, TTL: 1000})
	call(w, who+": revoke", l.LeaseRevoke, &pb.LeaseRevokeRequest{ID: 0x51})
	w.bounded(func(ctx context.Context) {
		// Sessions of earlier parts have left leases with ids drawn by chance.
		_, err := l.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
		w.tell(who+": leases", true, err)
	})
	call(w, who+": users", a.UserList, &pb.AuthUserListRequest{})
	call(w, who+": roles", a.RoleList, &pb.AuthRoleListRequest{})
	call(w, who+": get alice", a.UserGet, &pb.AuthUserGetRequest{Name: "alice"})
	call(w, who+": get root", a.UserGet, &pb.AuthUserGetRequest{Name: "root"})
	call(w, who+": get reader", a.RoleGet, &pb.AuthRoleGetRequest{Role: "reader"})
	call(w, who+": get all", a.RoleGet, &pb.AuthRoleGetRequest{Role: "all"})
	call(w, who+": auth status", a.AuthStatus, &pb.AuthStatusRequest{})
	call(w, who+": disable auth", a.AuthDisable, &pb.AuthDisableRequest{})
	as := *w
	as.conn = conn
	as.keepAlive(who+": keep alive", 0x51)
	w.bounded(func(ctx context.Context) {
		stream, err := m.Snapshot(ctx, &pb.SnapshotRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		w.tell(who+": snapshot", true, err)
	})
}
