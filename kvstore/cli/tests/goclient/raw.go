package main

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// rawPart asks what no well-behaved client would.
func rawPart(w *world) {
	invoke := func(step, method string, pairs []string, q any, options ...grpc.CallOption) {
		w.bounded(func(ctx context.Context) {
			answer := &pb.RangeResponse{}
			err := w.conn.Invoke(metadata.AppendToOutgoingContext(ctx, pairs...), method, q, answer, options...)
			w.tell(step, answer, err)
		})
	}
	invoke("an unknown service", "/frob.Frob/Frob", nil, &emptypb.Empty{})
	invoke("an unknown method", "/etcdserverpb.KV/Frob", nil, &emptypb.Empty{})
	invoke("a method without a service", "/Frob", nil, &emptypb.Empty{})
	invoke("fields that are not known", "/etcdserverpb.KV/Put", nil, &pb.WatchCreateRequest{Key: b("a"), WatchId: 7, Fragment: true})
	w.bounded(func(ctx context.Context) {
		err := w.conn.Invoke(ctx, "/etcdserverpb.KV/Range", []byte{0xff, 0xff, 0xff}, &[]byte{}, grpc.ForceCodec(bytesCodec{}))
		w.tell("a message that is none", nil, status.Error(status.Code(err), "<reason>"))
	})
	invoke("hasleader", "/etcdserverpb.KV/Range", []string{"hasleader", "true"}, get("a"))
	invoke("hasleader that is not true", "/etcdserverpb.KV/Range", []string{"hasleader", "maybe"}, get("a"))
	invoke("a version", "/etcdserverpb.KV/Range", []string{"client-api-version", "3.7.3"}, get("a"))
	invoke("a version that is none", "/etcdserverpb.KV/Range", []string{"client-api-version", "frob"}, get("a"))
	invoke("a token that is none", "/etcdserverpb.KV/Range", []string{"token", "frob"}, get("a"))
	invoke("an authorization that is none", "/etcdserverpb.KV/Range", []string{"authorization", "Bearer frob"}, get("a"))
	invoke("gzip", "/etcdserverpb.KV/Range", nil, get("a"), grpc.UseCompressor(gzip.Name))
	invoke("3 MB", "/etcdserverpb.KV/Range", nil, &pb.RangeRequest{Key: make([]byte, 3_000_000)})

	h := healthpb.NewHealthClient(w.conn)
	for _, service := range []string{"", "etcdserverpb.KV", "frob"} {
		call(w, fmt.Sprintf("health of %q", service), h.Check, &healthpb.HealthCheckRequest{Service: service})
	}
	w.bounded(func(ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := h.Watch(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			w.tell("watch the health", nil, err)
			return
		}
		r, err := stream.Recv()
		w.tell("watch the health", r, err)
	})
	w.bounded(func(ctx context.Context) {
		var header, trailer metadata.MD
		_, err := pb.NewKVClient(w.conn).Range(ctx, get("a"), grpc.Header(&header), grpc.Trailer(&trailer))
		w.tell("headers", header.Get("content-type"), err)
	})
}

// bytesCodec sends bytes as they are.
type bytesCodec struct{}

func (bytesCodec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }

func (bytesCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = data
	return nil
}

func (bytesCodec) Name() string { return "proto" }
