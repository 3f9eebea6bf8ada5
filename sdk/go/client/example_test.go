package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"

	"supervisord/protocol"
	"supervisord/sdk/go/client"
)

func Example() {
	conn, stop := exampleDaemon()
	defer stop()
	c := client.New(conn) // c, err := client.Dial(ctx, "")
	defer c.Close()

	ctx := context.Background()
	result, err := c.Execute(ctx, client.Execute{Plugin: "greet", Params: map[string]any{"name": "Ada"}})
	if err != nil {
		log.Fatal(err)
	}
	text, _ := result.Text()
	fmt.Println(text)

	_, err = c.Execute(ctx, client.Execute{Plugin: "gret"})
	if failure, ok := errors.AsType[*protocol.Error](err); ok && failure.Code == protocol.CodeUnknownPlugin {
		fmt.Println("there is:", failure.Data.Known)
	}
	// Output:
	// Hello, Ada!
	// there is: [greet]
}

func ExampleClient_Stream() {
	conn, stop := exampleDaemon()
	defer stop()
	c := client.New(conn) // c, err := client.Dial(ctx, "")
	defer c.Close()

	stream := c.Stream(context.Background(), client.Execute{Plugin: "spell", Params: map[string]any{"text": "streamed"}})
	for chunk, err := range stream.Chunks() {
		if err != nil {
			log.Fatal(err)
		}
		letter, _ := chunk.Text()
		fmt.Print(letter, " ")
	}
	result, err := stream.Result()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("in", result.Chunks, "chunks")
	// Output: s t r e a m e d in 8 chunks
}

// exampleDaemon answers on the other end of conn as a daemon with the plugins greet and spell does.
func exampleDaemon() (conn net.Conn, stop func()) {
	conn, other := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p := newPeer(other)
		for r, ok := p.tryNext(); ok; r, ok = p.tryNext() {
			switch r.plugin() {
			case "greet":
				p.succeed(r, `{"text":"Hello, Ada!"}`, 0)
			case "spell":
				for i, letter := range "streamed" {
					p.chunk(r, i, `"`+string(letter)+`"`)
				}
				p.succeed(r, `{}`, len("streamed"))
			default:
				p.send(`{"jsonrpc":"2.0","id":%s,"error":{"code":1004,"message":"no plugin","data":{"kind":"unknown_plugin","retryable":false,"known":["greet"]}}}`, r.ID)
			}
		}
	}()
	return conn, func() {
		conn.Close()
		<-done
	}
}
