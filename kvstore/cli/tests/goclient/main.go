// Command goclient asks a datastore everything that etcd's own Go client can ask, good and bad, and prints a line of
// JSON for each answer. It knows nothing of Keelson: the same lines come from a real etcd, and the test compares them.
//
// The parts run in a fixed order on one cluster that is fresh at the start; what they print carries no time, and every
// id that they choose is fixed.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// stepTimeout bounds one call.
	stepTimeout = 10 * time.Second
	// silence is how long nothing must come for "nothing comes" to be taken as the answer.
	silence = 300 * time.Millisecond
	// recvBytesMax is the largest answer that is taken.
	recvBytesMax = 64 << 20
)

// world is what a part works with.
type world struct {
	ctx       context.Context
	endpoints []string
	// conn goes to the first member, past the client's own checks.
	conn   *grpc.ClientConn
	client *clientv3.Client
	// part is the name of the part under way.
	part string
}

var parts = []struct {
	name string
	run  func(*world)
}{
	{"kv", kvPart},
	{"txn", txnPart},
	{"stream", streamPart},
	{"watch", watchPart},
	{"lease", leasePart},
	{"maintenance", maintenancePart},
	{"lock", lockPart},
	{"concurrency", concurrencyPart},
	{"packages", packagesPart},
	{"cluster", clusterPart},
	{"raw", rawPart},
	{"auth", authPart},
}

func main() {
	endpoints := flag.String("endpoints", "127.0.0.1:2379", "client addresses, the first one is asked most")
	only := flag.String("part", "", "one part instead of all")
	writers := flag.Int("load", 0, "write with so many writers until standard input ends, instead")
	prefix := flag.String("prefix", "load/", "of the keys that -load writes")
	flag.Parse()
	if *writers > 0 {
		load(strings.Split(*endpoints, ","), *writers, *prefix)
		return
	}
	all := strings.Split(*endpoints, ",")
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+all[0],
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(recvBytesMax), grpc.MaxCallSendMsgSize(recvBytesMax)))
	if err != nil {
		fail("dial", err)
	}
	w := &world{ctx: ctx, endpoints: all, conn: conn, client: newClient(all[:1], "", "")}
	for _, p := range parts {
		if *only == "" || *only == p.name {
			w.part = p.name
			p.run(w)
		}
	}
	if ctx.Err() != nil {
		fail("the whole run", ctx.Err())
	}
}

func newClient(endpoints []string, user, password string) *clientv3.Client {
	c, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: stepTimeout, Username: user, Password: password, Logger: zap.NewNop(),
		MaxCallSendMsgSize: recvBytesMax,
	})
	if err != nil {
		fail("make a client", err)
	}
	return c
}

func fail(what string, err error) {
	fmt.Fprintf(os.Stderr, "goclient: %s: %v\n", what, err)
	os.Exit(1)
}

// line is one step as it is printed.
type line struct {
	Step   string          `json:"step"`
	Answer json.RawMessage `json:"answer,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// tell prints a step: the answer, or the code and words of the error.
func (w *world) tell(step string, answer any, err error) {
	l := line{Step: w.part + ": " + step}
	if err != nil {
		l.Error = words(err)
	} else {
		l.Answer = plain(answer)
	}
	text, err := json.Marshal(l)
	if err != nil {
		fail(step, err)
	}
	fmt.Println(string(text))
}

func words(err error) string {
	if s, ok := status.FromError(err); ok {
		return fmt.Sprintf("%s: %s", s.Code(), s.Message())
	}
	return err.Error()
}

// plain is a message as JSON without the random spaces of protojson.
func plain(answer any) json.RawMessage {
	var text []byte
	var err error
	if m, ok := answer.(proto.Message); ok {
		text, err = protojson.Marshal(m)
	} else {
		text, err = json.Marshal(answer)
	}
	if err != nil {
		fail("print an answer", err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		fail("print an answer", err)
	}
	return out.Bytes()
}

// call makes one unary call within its bound and tells what came of it.
func call[Q, A any](w *world, step string, f func(context.Context, Q, ...grpc.CallOption) (A, error), q Q) A {
	ctx, cancel := context.WithTimeout(w.ctx, stepTimeout)
	defer cancel()
	answer, err := f(ctx, q)
	w.tell(step, answer, err)
	return answer
}

// bounded runs f with the context of one step.
func (w *world) bounded(f func(context.Context)) {
	ctx, cancel := context.WithTimeout(w.ctx, stepTimeout)
	defer cancel()
	f(ctx)
}

func (w *world) put(key, value string) *pb.PutResponse {
	var r *pb.PutResponse
	w.bounded(func(ctx context.Context) {
		var err error
		r, err = pb.NewKVClient(w.conn).Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
		if err != nil {
			fail("put "+key, err)
		}
	})
	return r
}

// revision is the store's current one.
func (w *world) revision() int64 {
	var r *pb.RangeResponse
	w.bounded(func(ctx context.Context) {
		var err error
		r, err = pb.NewKVClient(w.conn).Range(ctx, &pb.RangeRequest{Key: []byte("x")})
		if err != nil {
			fail("read the revision", err)
		}
	})
	return r.Header.Revision
}
