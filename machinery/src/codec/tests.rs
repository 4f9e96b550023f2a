//! Round trips over the whole table, vectors from upstream's own encoder, and malformed input.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::resources;
use crate::schema::{self, Field, Kind, Shape};
use serde_json::json;

fn id(api_version: &str, kind: &str) -> TypeId {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    resources::type_of(group, version, kind).unwrap()
}
fn unhex(text: &str) -> Vec<u8> {
    hex(text.as_bytes()).collect()
}
fn hex(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    text.chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
}
fn encode(id: TypeId, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    value_to_proto(id, value, &mut out).unwrap();
    out
}

/// What upstream's encoder makes of these objects (k8s.io/api v0.35.4, `Marshal`).
#[test]
fn bytes_are_those_of_upstream() {
    let vectors = [
        (
            "v1",
            "Pod",
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","namespace":"ns","creationTimestamp":"2024-02-29T10:34:56Z","labels":{"a":"1","b":"2"}},"spec":{"volumes":[{"name":"v","downwardAPI":{"items":[{"path":"x","resourceFieldRef":{"resource":"limits.cpu","divisor":"1m"}}]}}],"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"env":[{"name":"E","valueFrom":{"configMapKeyRef":{"name":"m","key":"k","optional":false}}}],"resources":{"limits":{"cpu":"250m","memory":"64Mi"}},"readinessProbe":{"httpGet":{"port":"http"},"periodSeconds":5}}],"terminationGracePeriodSeconds":0},"status":{"podIPs":[{"ip":"10.0.0.1"}],"containerStatuses":[{"name":"c","state":{"running":{"startedAt":null}},"lastState":{},"ready":false,"restartCount":0,"image":"i","imageID":""}]}}"#,
            "0a2b0a017012001a026e7322002a0032003800420808d0bb81af0610005a060a01611201315a060a016212013212c301\
             0a230a0176121e82011b0a190a01781a140a00120a6c696d6974732e6370751a040a02316d127e0a01631201692a0032\
             0a0a001000185022002a003a130a014512001a0c1a0a0a030a016d12016b180042210a0d0a0363707512060a04323530\
             6d0a100a066d656d6f727912060a0436344d695a200a1412120a00120a080110001a04687474701a0022001000180020\
             05280030006a007200800100880100900100a201001a002000320042004a0052005800600068008201008a01009a0100\
             c201001a370a001a0022002a00320042160a0163120412020a001a00200028003201693a0042004a005a00620a0a0831\
             302e302e302e317200880100",
        ),
        (
            "apps/v1",
            "Deployment",
            r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"d","managedFields":[{"manager":"m","fieldsV1":{"f:a":{}}}]},"spec":{"replicas":0,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{},"spec":{"containers":null}},"strategy":{"rollingUpdate":{"maxUnavailable":-1,"maxSurge":"25%"}}},"status":{}}"#,
            "0a2d0a016412001a0022002a003200380042008a01190a016d12001a0032003a0c0a0a7b22663a61223a7b7d7d420012\
             64080012080a060a01611201621a300a100a0012001a0022002a00320038004200121c1a00320042004a005200580060\
             0068008201008a01009a0100c2010022200a00121c0a0f080010ffffffffffffffffff011a001209080110001a033235\
             25280038001a0c080010001800200028003800",
        ),
        (
            "v1",
            "Service",
            r#"{"kind":"Service","apiVersion":"v1","metadata":{},"spec":{"ports":[{"port":80,"targetPort":8080}],"clusterIP":"None","clusterIPs":["None"],"externalTrafficPolicy":"Local"},"status":{"loadBalancer":{}}}"#,
            "0a100a0012001a0022002a0032003800420012330a110a00120018502207080010903f1a0028001a044e6f6e6522003a\
             00420052005a054c6f63616c600068009201044e6f6e651a020a00",
        ),
        (
            "v1",
            "Secret",
            r#"{"kind":"Secret","apiVersion":"v1","metadata":{},"immutable":true,"data":{"a":"AAEC/w==","b":""},"type":"Opaque"}"#,
            "0a100a0012001a0022002a0032003800420012090a01611204000102ff12050a016212001a064f70617175652801",
        ),
        (
            "coordination.k8s.io/v1",
            "Lease",
            r#"{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{},"spec":{"holderIdentity":"h","renewTime":"2024-02-29T10:34:56.000042Z"}}"#,
            "0a100a0012001a0022002a00320038004200120f0a0168220a08d0bb81af061090c802",
        ),
        (
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            r#"{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":{},"spec":{"group":"g","names":{"plural":"xs","kind":"X"},"scope":"Cluster","versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","required":["a"],"properties":{"a":{"default":{"z":[1]},"maximum":0.5,"items":[{"type":"a"}],"additionalProperties":false,"x-kubernetes-int-or-string":true}}}}}]},"status":{"conditions":null,"acceptedNames":{"plural":"","kind":""},"storedVersions":null}}"#,
            "0a100a0012001a0022002a0032003800420012bb010a01671a0b0a02787312002201582a002207436c75737465723a9d\
             010a027631100118012290010a8d010a00120022002a066f626a65637432003a00500060007a00900100ba010161ea01\
             620a0161125d0a00120022002a0032003a00420b0a097b227a223a5b315d7d49000000000000e03f500060007a009001\
             00c20121121f0a00120022002a016132003a00500060007a00900100a80200b80200c00200f201020800a80200b80200\
             c00201a80200b80200c00200380050001a0c12080a00120022002a002000",
        ),
    ];
    for (api_version, kind, text, bytes) in vectors {
        let id = id(api_version, kind);
        let raw = unhex(bytes);
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(encode(id, &value), raw, "{kind}");
        let mut json = Vec::new();
        proto_to_json(id, &raw, Some((api_version, kind)), None, &mut json).unwrap();
        assert_eq!(String::from_utf8(json).unwrap(), text);
    }
}

/// Fields of one generated object.
const FIELDS_MAX: usize = 200;

/// A small generator with a fixed seed each (splitmix64), so that a failure repeats.
struct Dice(u64, usize);
impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
    fn text(&mut self) -> String {
        ["", "a", "web-0", "ü\"\n", "long ".repeat(40).as_str()][self.roll(5) as usize].to_owned()
    }
    fn value(&mut self, kind: Kind, depth: usize) -> Value {
        match kind {
            Kind::String => json!(self.text()),
            Kind::Bytes => json!(["YQ==", "AAEC/w=="][self.roll(2) as usize]),
            Kind::Bool => json!(self.roll(2) == 0),
            Kind::Int32 => json!([0, 1, -1, i32::MAX, i32::MIN][self.roll(5) as usize]),
            Kind::Int64 => json!([0, 1, -1, i64::MAX, i64::MIN][self.roll(5) as usize]),
            Kind::Double => json!([0.5, -2.25, 1e30, 1e-9][self.roll(4) as usize]),
            Kind::Time => json!(["2024-02-29T10:34:56Z", "1970-01-01T00:00:00Z"][self.roll(2) as usize]),
            Kind::MicroTime => {
                json!(["2024-02-29T10:34:56.000042Z", "1969-12-31T23:59:59.999999Z"][self.roll(2) as usize])
            }
            Kind::Duration => json!("1m30s"),
            Kind::Quantity => json!(["1", "25", "250"][self.roll(3) as usize]),
            Kind::IntOrString => [json!(0), json!(-8), json!("25%"), json!("")][self.roll(4) as usize].clone(),
            Kind::FieldsV1 => json!({"f:metadata": {"f:labels": {".": {}}}}),
            Kind::RawExtension => json!({"kind": "X", "data": [1, {"a": null}]}),
            Kind::AnyJson => [json!("x"), json!(3), json!({"a": [null]})][self.roll(3) as usize].clone(),
            Kind::Strings => json!(["a", ""]),
            Kind::SchemaOrArray => {
                [json!({"type": "string"}), json!([{"type": "a"}, {}])][self.roll(2) as usize].clone()
            }
            Kind::SchemaOrBool => [json!(true), json!(false), json!({"type": "x"})][self.roll(3) as usize].clone(),
            Kind::SchemaOrStrings => [json!({"type": "string"}), json!(["a", ""])][self.roll(2) as usize].clone(),
            Kind::Message(id) => self.object(id, depth + 1),
        }
    }
    fn object(&mut self, id: TypeId, depth: usize) -> Value {
        let mut map = serde_json::Map::new();
        for field in schema::get(id).flat_fields() {
            // Deep down fewer fields are filled, and a budget ends what branches too much.
            if self.roll(3 + depth as u64) > 1 || depth > 10 || self.1 == 0 {
                continue;
            }
            self.1 -= 1;
            map.insert(field.json.to_owned(), self.field(field, depth));
        }
        Value::Object(map)
    }
    fn field(&mut self, field: &Field, depth: usize) -> Value {
        match field.shape {
            Shape::Single => self.value(field.kind, depth),
            Shape::List => (0..=self.roll(3)).map(|_| self.value(field.kind, depth)).collect(),
            Shape::Map => {
                let entries = (0..=self.roll(2)).map(|i| (format!("k{i}"), self.value(field.kind, depth)));
                Value::Object(entries.collect())
            }
        }
    }
}

/// Every type of the table that JSON knows.
fn kinds() -> impl Iterator<Item = TypeId> {
    let special = [
        "Time",
        "MicroTime",
        "Quantity",
        "IntOrString",
        "RawExtension",
        "FieldsV1",
        "JSON",
        "Duration",
    ];
    schema::types().iter().filter_map(move |t| {
        let odd = special.contains(&t.short_name()) || t.short_name().starts_with("JSONSchemaPropsOr");
        (!odd).then(|| schema::by_name(t.name).unwrap())
    })
}

/// Value → bytes → value → bytes: the second round changes nothing, in bytes nor in values, and no
/// value that was set is lost.
#[test]
fn every_type_round_trips() {
    let mut dice = Dice(7, 0);
    for id in kinds() {
        for _ in 0..8 {
            dice.1 = FIELDS_MAX;
            let value = dice.object(id, 0);
            let raw = encode(id, &value);
            let back = proto_to_value(id, &raw).unwrap_or_else(|e| panic!("{}: {e}", schema::get(id).name));
            assert_eq!(encode(id, &back), raw, "{}", schema::get(id).name);
            assert_eq!(proto_to_value(id, &encode(id, &back)).unwrap(), back);
            kept(&value, &back, schema::get(id).name);
        }
    }
}

/// Everything that is not zero in `given` is in `got`.
fn kept(given: &Value, got: &Value, path: &str) {
    match (given, got) {
        (Value::Object(a), b) => {
            for (key, value) in a {
                let zero =
                    matches!(value, Value::Null | Value::Bool(false)) || *value == json!("") || *value == json!(0);
                match b.get(key) {
                    Some(other) => kept(value, other, &format!("{path}.{key}")),
                    None => assert!(zero, "{path}.{key} = {value} was lost"),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{path}");
            a.iter().zip(b).for_each(|(a, b)| kept(a, b, path));
        }
        (a, b) => assert!(
            a == b || a.as_f64() == b.as_f64() && a.is_number(),
            "{path}: {a} became {b}"
        ),
    }
}

/// Bytes that are cut, changed or made up end in an error or a value, never in a panic.
#[test]
fn malformed_bytes_are_survived() {
    let mut dice = Dice(11, 0);
    for kind in ["Pod", "Node", "Service", "Event"] {
        let id = id("v1", kind);
        dice.1 = FIELDS_MAX;
        let raw = encode(id, &dice.object(id, 0));
        for _ in 0..2_000 {
            let mut broken = raw.clone();
            for _ in 0..=dice.roll(4) {
                let at = dice.roll(broken.len() as u64) as usize;
                broken[at] = dice.roll(256) as u8;
            }
            broken.truncate(dice.roll(broken.len() as u64 + 1) as usize);
            let _ = proto_to_value(id, &broken);
            let _ = proto_to_json(id, &broken, None, Some(5), &mut Vec::new());
            let _ = splice_resource_version(&broken, 5, &mut Vec::new());
            let _ = slim_meta(&broken);
            let _ = field_at(id, &broken, &["spec", "nodeName"]);
            let _ = unwrap_envelope(&broken);
        }
    }
}

#[test]
fn nesting_is_bounded() {
    let props = id("apiextensions.k8s.io/v1", "JSONSchemaProps");
    let mut value = json!({"type": "string"});
    let mut raw = encode(props, &value);
    for _ in 0..DEPTH_MAX + 10 {
        value = json!({"not": value});
        let mut outer = Vec::new();
        wire::put_bytes(28, &raw, &mut outer);
        raw = outer;
    }
    assert!(value_to_proto(props, &value, &mut Vec::new()).is_err());
    assert!(proto_to_value(props, &raw).is_err());
}

#[test]
fn embedded_json_is_checked_where_it_comes_from_clients() {
    let revision = id("apps/v1", "ControllerRevision");
    let good = encode(
        revision,
        &json!({"metadata": {"name": "a"}, "data": {"x": 1}, "revision": 3}),
    );
    assert_eq!(proto_to_value(revision, &good).unwrap()["data"], json!({"x": 1}));
    let at = good.windows(7).position(|w| w == b"{\"x\":1}").unwrap();
    let mut evil = good.clone();
    evil[at..at + 7].copy_from_slice(b"1},\"a\":");
    assert!(proto_to_value(revision, &evil).is_err());
}

#[test]
fn enveloped_objects_inside_others_are_read() {
    let mut enveloped = Vec::new();
    wrap_envelope(
        "v1",
        "ConfigMap",
        &encode(id("v1", "ConfigMap"), &json!({"data": {"a": "b"}})),
        &mut enveloped,
    );
    let mut event = Vec::new();
    watch_event_proto("ADDED", &enveloped, &mut event);
    let value = proto_to_value(id("v1", "WatchEvent"), &event).unwrap();
    assert_eq!(
        value,
        json!({"type": "ADDED", "object": {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {}, "data": {"a": "b"}}})
    );
}

#[test]
fn envelopes() {
    let mut out = Vec::new();
    wrap_envelope("apps/v1", "Deployment", b"raw", &mut out);
    assert_eq!(
        out,
        b"k8s\0\x0a\x15\x0a\x07apps/v1\x12\x0aDeployment\x12\x03raw\x1a\0\x22\0"
    );
    let envelope = unwrap_envelope(&out).unwrap();
    assert_eq!(
        envelope,
        Envelope {
            api_version: "apps/v1",
            kind: "Deployment",
            raw: b"raw",
            content_type: ""
        }
    );
    assert!(unwrap_envelope(b"{}").is_err());
}

fn pod() -> Value {
    json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "1", "labels": {"a": "b", "c": ""}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
        "status": {"phase": "Running"},
    })
}

#[test]
fn resource_version_is_spliced() {
    let pod_id = id("v1", "Pod");
    for (name, value) in [
        ("set", pod()),
        ("none", json!({"metadata": {"name": "p", "labels": {"a": "b"}}})),
        ("empty", json!({})),
    ] {
        let raw = encode(pod_id, &value);
        for version in [7, 123_456_789_012] {
            let mut spliced = Vec::new();
            splice_resource_version(&raw, version, &mut spliced).unwrap();
            let mut expected = value.clone();
            expected["metadata"]["resourceVersion"] = json!(version.to_string());
            assert_eq!(spliced, encode(pod_id, &expected), "{name}");
            let (mut by_splice, mut by_writer) = (Vec::new(), Vec::new());
            proto_to_json(pod_id, &spliced, None, None, &mut by_splice).unwrap();
            proto_to_json(pod_id, &raw, None, Some(version), &mut by_writer).unwrap();
            assert_eq!(by_splice, by_writer, "{name}");
        }
    }
    let mut spliced = Vec::new();
    splice_resource_version(&[], 9, &mut spliced).unwrap();
    assert_eq!(
        proto_to_value(pod_id, &spliced).unwrap()["metadata"],
        json!({"resourceVersion": "9"})
    );
}

#[test]
fn slim_reads() {
    let pod_id = id("v1", "Pod");
    let raw = encode(pod_id, &pod());
    let meta = slim_meta(&raw).unwrap();
    assert_eq!(
        (meta.name.as_str(), meta.namespace.as_str(), meta.uid.as_str()),
        ("p", "ns", "u")
    );
    assert_eq!(
        meta.labels,
        [("a".to_owned(), "b".to_owned()), ("c".to_owned(), String::new())]
    );
    assert!(!meta.deletion_timestamp);
    let at = |path: &[&str]| field_at(pod_id, &raw, path).unwrap();
    assert_eq!(at(&["spec", "nodeName"]), "n1");
    assert_eq!(at(&["status", "phase"]), "Running");
    assert_eq!(at(&["metadata", "namespace"]), "ns");
    assert_eq!(at(&["spec", "hostNetwork"]), "false");
    assert_eq!(at(&["spec", "nothing", "here"]), "");
    assert_eq!(at(&["spec"]), "");
}

#[test]
fn lists() {
    let raw = encode(id("v1", "Pod"), &pod());
    let meta = ListMeta {
        resource_version: "44".into(),
        continue_token: "tok".into(),
        remaining_item_count: Some(3),
    };
    let items: Vec<(&[u8], Option<u64>)> = vec![(&raw, Some(40)), (&raw, None)];
    let mut enveloped = Vec::new();
    enveloped_list_proto("v1", "PodList", &meta, &items, &mut enveloped).unwrap();
    let envelope = unwrap_envelope(&enveloped).unwrap();
    assert_eq!(envelope.kind, "PodList");
    let value = proto_to_value(id("v1", "PodList"), envelope.raw).unwrap();
    assert_eq!(
        value["metadata"],
        json!({"resourceVersion": "44", "continue": "tok", "remainingItemCount": 3})
    );
    let versions: Vec<_> = (0..2)
        .map(|i| value["items"][i]["metadata"]["resourceVersion"].clone())
        .collect();
    assert_eq!(versions, ["40", "1"]);
    assert_eq!(encode(id("v1", "PodList"), &value), envelope.raw);

    let mut text = Vec::new();
    list_json_begin("v1", "PodList", &meta, &mut text);
    for (raw, version) in &items {
        list_json_next(&mut text);
        proto_to_json(id("v1", "Pod"), raw, None, *version, &mut text).unwrap();
    }
    list_json_end(&mut text);
    let mut from_json: Value = serde_json::from_slice(&text).unwrap();
    let object = from_json.as_object_mut().unwrap();
    assert_eq!(
        (object.remove("kind").unwrap(), object.remove("apiVersion").unwrap()),
        (json!("PodList"), json!("v1"))
    );
    assert_eq!(from_json, value);
}

#[test]
fn wrong_types_are_errors() {
    for (value, message) in [
        (
            json!({"spec": {"replicas": "x"}}),
            "json: cannot unmarshal string into Go struct field replicas of type int32",
        ),
        (
            json!({"spec": {"replicas": 1.5}}),
            "json: cannot unmarshal number 1.5 into Go struct field replicas of type int32",
        ),
        (
            json!({"spec": []}),
            "json: cannot unmarshal array into Go struct field spec of type v1.DeploymentSpec",
        ),
        (
            json!([]),
            "json: cannot unmarshal array into Go value of type Deployment",
        ),
    ] {
        let error = value_to_proto(id("apps/v1", "Deployment"), &value, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn packed_numbers_are_read() {
    let mut raw = Vec::new();
    wire::put_bytes(4, &[1, 0x96, 1], &mut raw);
    let security = schema::by_name("io.k8s.api.core.v1.PodSecurityContext").unwrap();
    assert_eq!(
        proto_to_value(security, &raw).unwrap(),
        json!({"supplementalGroups": [1, 150]})
    );
}
