package main

import "testing"

func TestParsePairs(t *testing.T) {
	for _, test := range []struct {
		pairs []string
		want  string
	}{
		{nil, `{}`},
		{[]string{"name=Ada"}, `{"name":"Ada"}`},
		{[]string{"text=the quick brown fox", "n=600", "f=-1.50e3"}, `{"text":"the quick brown fox","n":600,"f":-1.50e3}`},
		{[]string{"a=true", "b=false", "c=null"}, `{"a":true,"b":false,"c":null}`},
		{[]string{`a={"b": [1]}`, "c=[]"}, `{"a":{"b": [1]},"c":[]}`},
		{[]string{"a=", "b= 1", "c=1 ", "d=\t"}, `{"a":"","b":" 1","c":"1 ","d":"\t"}`},
		{[]string{"zip=01234", "v=1.2.3", "x=+1", "y=NaN", "z=1,2"}, `{"zip":"01234","v":"1.2.3","x":"+1","y":"NaN","z":"1,2"}`},
		{[]string{`q="quoted"`, `open={`}, `{"q":"\"quoted\"","open":"{"}`},
		{[]string{"eq=a=b", "url=http://x/?a=1&b=<2>"}, `{"eq":"a=b","url":"http://x/?a=1&b=<2>"}`},
		{[]string{`v:="1.0"`, "n:=1", "colon:x=1"}, `{"v":"1.0","n":1,"colon:x":1}`},
		{[]string{`ä"=ö`}, `{"ä\"":"ö"}`},
	} {
		got, err := parsePairs(test.pairs)
		if err != nil || string(got) != test.want {
			t.Errorf("%q: got %s, %v, want %s", test.pairs, got, err, test.want)
		}
	}
}

func TestParsePairsRefuses(t *testing.T) {
	for _, pairs := range [][]string{
		{"name"}, {""}, {"=x"}, {":=1"}, {"a=1", "a=2"}, {"a:=Ada"}, {"a:="}, {"a:=1 2"}, {"a=\xff"}, {"\xff=1"},
	} {
		if got, err := parsePairs(pairs); err == nil {
			t.Errorf("%q: got %s", pairs, got)
		}
	}
}
