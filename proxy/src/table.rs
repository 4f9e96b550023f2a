//! The fixed part of the table: base chains that look packets up in maps, whatever the number of Services.

use crate::Options;

/// Mark of packets that leave with the node's address (upstream's default bit 14).
pub const MASQUERADE_MARK: &str = "0x4000";

/// Creates the table anew; the same transaction then adds what Services contribute.
pub fn skeleton(o: &Options) -> String {
    let (t, pods, services) = (&o.table, o.cluster_cidr, o.service_cidr);
    let mark = MASQUERADE_MARK;
    format!(
        r#"add table inet {t}
delete table inet {t}
table inet {t} {{
	map service_ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
	map node_ports {{ type inet_proto . inet_service : verdict; }}
	map host_ports {{ type inet_proto . inet_service : verdict; }}
	map host_ip_ports {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
	map closed_ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
	map closed_node_ports {{ type inet_proto . inet_service : verdict; }}

	chain services {{
		ip daddr . meta l4proto . th dport vmap @service_ips
		fib daddr type local ip daddr . meta l4proto . th dport vmap @host_ip_ports
		fib daddr type local meta l4proto . th dport vmap @host_ports
		fib daddr type local meta l4proto . th dport vmap @node_ports
	}}
	chain refuse {{
		reject
	}}
	chain closed {{
		ct state new ip daddr . meta l4proto . th dport vmap @closed_ips
		ct state new ip daddr {services} reject
	}}

	chain nat_prerouting {{
		type nat hook prerouting priority dstnat; policy accept;
		jump services
	}}
	chain nat_output {{
		type nat hook output priority -100; policy accept;
		jump services
	}}
	chain nat_postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		meta mark & {mark} != 0 meta mark set meta mark ^ {mark} masquerade fully-random
		ip saddr {pods} ip daddr != {pods} masquerade fully-random
	}}
	chain filter_forward {{
		type filter hook forward priority filter - 5; policy accept;
		jump closed
	}}
	chain filter_output {{
		type filter hook output priority filter - 5; policy accept;
		jump closed
		ct state new fib daddr type local meta l4proto . th dport vmap @closed_node_ports
	}}
	chain filter_input {{
		type filter hook input priority filter - 5; policy accept;
		ct state new fib daddr type local meta l4proto . th dport vmap @closed_node_ports
	}}
	chain loopback_guard {{
		type filter hook prerouting priority raw; policy accept;
		iifname != "lo" ip daddr 127.0.0.0/8 drop
	}}
}}
"#
    )
}
