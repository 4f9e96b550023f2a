//! One question in, one answer out.

use crate::forward::Forwarder;
use crate::index::{Found, Index, TTL_SECONDS};
use crate::names;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// What is announced and kept to over UDP, bytes (the DNS flag day's figure).
const UDP_BYTES_MAX: u16 = 1232;

pub struct Resolver {
    pub index: Index,
    pub forwarder: Forwarder,
}

fn labels_before(name: &Name, domain: &Name) -> Option<Vec<String>> {
    if !domain.zone_of(name) {
        return None;
    }
    let own = usize::from(name.num_labels()).checked_sub(domain.num_labels().into())?;
    Some(
        name.iter()
            .take(own)
            .map(|l| String::from_utf8_lossy(l).to_lowercase())
            .collect(),
    )
}

impl Resolver {
    /// The bytes to send back; `None` where silence is right (not a query at all).
    pub async fn answer(&self, bytes: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let query = match Message::from_vec(bytes) {
            Ok(m) => m,
            Err(_) => {
                let id = u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
                return Message::error_msg(id, OpCode::Query, ResponseCode::FormErr)
                    .to_vec()
                    .ok();
            }
        };
        if query.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
        reply.metadata.recursion_desired = query.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        if query.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_BYTES_MAX).set_version(0);
            reply.set_edns(edns);
        }
        let [question] = query.queries.as_slice() else {
            reply.metadata.response_code = ResponseCode::FormErr;
            return reply.to_vec().ok();
        };
        reply.add_query(question.clone());
        if query.metadata.op_code != OpCode::Query {
            reply.metadata.response_code = ResponseCode::NotImp;
            return reply.to_vec().ok();
        }
        if !self.local(&mut reply, question, tcp).await {
            if let Some(answer) = self.forwarder.ask(bytes, tcp).await {
                return Some(answer);
            }
            reply.metadata.response_code = ResponseCode::ServFail;
        }
        let out = reply.to_vec().ok()?;
        let limit = if tcp {
            usize::from(u16::MAX)
        } else {
            query.max_payload().clamp(512, UDP_BYTES_MAX).into()
        };
        if out.len() <= limit {
            return Some(out);
        }
        // The additional records are a courtesy; without answers the client asks again over TCP.
        reply.additionals.clear();
        let out = reply.to_vec().ok()?;
        if out.len() <= limit {
            return Some(out);
        }
        reply.answers.clear();
        reply.metadata.truncation = true;
        reply.to_vec().ok()
    }

    /// Fills `reply` in when the question is the cluster's; false leaves it to the servers upstream.
    async fn local(&self, reply: &mut Message, question: &Query, tcp: bool) -> bool {
        let (name, kind) = (question.name(), question.query_type());
        if question.query_class() != DNSClass::IN {
            return false;
        }
        if let Some(ip) = names::reverse(&name.to_ascii().to_lowercase()) {
            let Some(records) = self.index.reverse(name, ip) else {
                return false;
            };
            reply.metadata.authoritative = true;
            if matches!(kind, RecordType::PTR | RecordType::ANY) {
                reply.add_answers(records);
            }
            return true;
        }
        let Some(labels) = labels_before(name, &self.index.domain) else {
            return false;
        };
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let found = self.index.find(name, kind, &names::parse(&labels));
        reply.metadata.authoritative = true;
        self.fill(reply, kind, found, tcp, labels.is_empty()).await;
        true
    }

    async fn fill(&self, reply: &mut Message, kind: RecordType, found: Found, tcp: bool, apex: bool) {
        if !found.exists {
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        let alias = found.answers.first().and_then(|r| match &r.data {
            RData::CNAME(c) if kind != RecordType::CNAME => Some(c.0.clone()),
            _ => None,
        });
        reply.add_answers(found.answers);
        reply.add_additionals(found.additionals);
        if let Some(target) = alias {
            let more = self.chase(target, kind, tcp).await;
            reply.add_answers(more);
        }
        if reply.answers.is_empty() {
            let soa = self.soa();
            if apex && kind == RecordType::SOA {
                reply.add_answer(soa);
            } else {
                reply.add_authority(soa);
            }
        }
    }

    /// Records of an ExternalName's target, so that clients need not ask twice.
    async fn chase(&self, target: Name, kind: RecordType, tcp: bool) -> Vec<Record> {
        if let Some(labels) = labels_before(&target, &self.index.domain) {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            return self.index.find(&target, kind, &names::parse(&labels)).answers;
        }
        let mut query = Message::query();
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(target, kind));
        let Ok(bytes) = query.to_vec() else { return Vec::new() };
        let Some(answer) = self.forwarder.ask(&bytes, tcp).await else {
            return Vec::new();
        };
        Message::from_vec(&answer).map(|m| m.answers).unwrap_or_default()
    }

    fn soa(&self) -> Record {
        let below = |label: &str| {
            Name::from_ascii(format!("{label}.{}", self.index.domain)).unwrap_or_else(|_| self.index.domain.clone())
        };
        let soa = SOA::new(below("ns.dns"), below("hostmaster"), 1, 7200, 1800, 86_400, TTL_SECONDS);
        Record::from_rdata(self.index.domain.clone(), TTL_SECONDS, RData::SOA(soa))
    }
}
