#!/bin/sh
# Records traffic.pcap: real programs talking between two network namespaces
# joined by a veth pair. Run as root on Linux:
#
#   apt-get install iproute2 ethtool tcpdump curl python3 socat dnsmasq-base bind9-dnsutils iputils-ping
#   tests/data/record.sh [OUTPUT]
#
# Nothing leaves the machine. The capture is taken on the client's side, with
# checksum and segmentation offloads off, so that it holds the very frames of
# the wire.
set -eu

output=$(realpath "${1:-$(dirname "$0")/traffic.pcap}")
scratch=$(mktemp -d)
client=ipsecov2-client
server=ipsecov2-server
pids=

cleanup() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    ip netns delete $client 2>/dev/null || true
    ip netns delete $server 2>/dev/null || true
    rm -rf "$scratch"
}
trap cleanup EXIT INT TERM

on() {
    namespace=$1
    shift
    ip netns exec "$namespace" "$@"
}

# The same in the background, as a process that cleanup can end.
background() {
    namespace=$1
    shift
    (exec ip netns exec "$namespace" "$@") &
    pids="$pids $!"
}

# Locally administered addresses, documentation prefixes (RFC 5737, RFC 3849).
ip netns add $client
ip netns add $server
ip link add name left address 02:00:5e:10:00:01 netns $client type veth \
    peer name right address 02:00:5e:10:00:02 netns $server
on $client ethtool -K left tx off rx off tso off gso off gro off >/dev/null
on $server ethtool -K right tx off rx off tso off gso off gro off >/dev/null
on $client ip address add 192.0.2.1/24 dev left
on $server ip address add 192.0.2.2/24 dev right
on $client ip address add 2001:db8::1/64 dev left nodad
on $server ip address add 2001:db8::2/64 dev right nodad
on $client ip link set lo up
on $server ip link set lo up

# The capture starts before the links do: it also holds the neighbour discovery
# and multicast listener reports of two hosts coming up.
background $client tcpdump -i left -p -s 0 -U --time-stamp-precision=micro -w "$scratch/traffic.pcap" 2>"$scratch/tcpdump.log"
tries=50
on $client ip link set left up
on $server ip link set right up
while ! on $client ip -6 route show dev left | grep -q fe80; do
    tries=$((tries - 1)); test $tries -gt 0; sleep 0.1
done
sleep 2

# Services: a web server on both families, a name server, an echo service.
mkdir "$scratch/www"
python3 - "$scratch/www" <<'PYTHON'
import pathlib, sys
www = pathlib.Path(sys.argv[1])
text = "".join(f"{n:05} The quick brown fox jumps over the lazy dog.\n" for n in range(400))
(www / "fox.txt").write_text(text)
(www / "index.html").write_text("<!doctype html><title>ipsecov2</title><p>It works.\n")
PYTHON
for address in 192.0.2.2 '[2001:db8::2]'; do
    bare=$(echo "$address" | tr -d '[]')
    background $server env -i PATH="$PATH" python3 -m http.server 80 --bind "$bare" --directory "$scratch/www" >/dev/null 2>&1
done
for listen in "UDP4-RECVFROM:7,bind=192.0.2.2" "UDP6-RECVFROM:7,bind=[2001:db8::2]"; do
    background $server socat -T 5 "$listen,fork" EXEC:cat
done
background $server dnsmasq --keep-in-foreground --no-resolv --no-hosts --user=root --pid-file= \
    --listen-address=192.0.2.2 --listen-address=2001:db8::2 --bind-interfaces \
    --host-record=server.example,192.0.2.2,2001:db8::2 \
    --txt-record=text.example,"$(printf '%0200d' 0)"
sleep 2

# TCP.
for host in 192.0.2.2 '[2001:db8::2]'; do
    on $client curl -sS -o /dev/null "http://$host/index.html"
    on $client curl -sS -o /dev/null "http://$host/fox.txt"
done

# UDP.
for address in 192.0.2.2 '[2001:db8::2]'; do
    host=$(echo "$address" | tr -d '[]')
    on $client dig +tries=1 +time=3 "@$host" server.example A >/dev/null
    on $client dig +tries=1 +time=3 "@$host" server.example AAAA >/dev/null
    on $client dig +tries=1 +time=3 "@$host" text.example TXT >/dev/null
    # Payloads of 0 to 16 bytes reach every padding length of ESP.
    for size in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 100 511 1400; do
        head -c $size /dev/zero | tr '\000' u |
            on $client socat -T 0.05 - "UDP:$address:7" >/dev/null
    done
done

# ICMP: small, large, the full MTU, IPv4 options (record route), and packets
# that must be fragmented.
for host in 192.0.2.2 2001:db8::2; do
    on $client ping -q -c 3 -i 0.2 "$host" >/dev/null
    on $client ping -q -c 2 -i 0.2 -s 0 "$host" >/dev/null
    on $client ping -q -c 2 -i 0.2 -s 1000 "$host" >/dev/null
    on $client ping -q -c 2 -i 0.2 -s 4000 "$host" >/dev/null
done
on $client ping -q -c 2 -i 0.2 -M do -s 1472 192.0.2.2 >/dev/null
on $client ping -q -c 2 -i 0.2 -M do -s 1452 2001:db8::2 >/dev/null
on $client ping -q -c 2 -i 0.2 -R 192.0.2.2 >/dev/null
# A closed port answers with an ICMP error that carries the packet.
on $client dig +tries=1 +time=1 -p 9 @192.0.2.2 closed.example >/dev/null || true
on $client dig +tries=1 +time=1 -p 9 @2001:db8::2 closed.example >/dev/null || true
sleep 1

for pid in $pids; do kill "$pid" 2>/dev/null || true; done
wait 2>/dev/null || true
pids=
mv "$scratch/traffic.pcap" "$output"
chmod 644 "$output"
