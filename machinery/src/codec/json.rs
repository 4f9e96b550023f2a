//! From protobuf to JSON text, in one pass over the table.
use super::wire::{self, Payload, Records};
use super::{DEPTH_MAX, Error, MAGIC, text, time, too_deep, unwrap_envelope};
use crate::resources;
use crate::schema::{self, Field, JSON_SCHEMA_PROPS, Kind, Shape, Type, TypeId};

/// Whether JSON inside the message (FieldsV1, RawExtension, JSON) is checked before it is copied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Embedded {
    Trusted,
    Checked,
}

pub(super) fn write(
    id: TypeId,
    raw: &[u8],
    gvk: Option<(&str, &str)>,
    resource_version: Option<u64>,
    embedded: Embedded,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let mut writer = Writer { out, embedded };
    writer.out.push(b'{');
    let mut empty = true;
    if let Some((api_version, kind)) = gvk {
        writer.out.extend_from_slice(b"\"kind\":");
        text::put_string(kind.as_bytes(), writer.out);
        writer.out.extend_from_slice(b",\"apiVersion\":");
        text::put_string(api_version.as_bytes(), writer.out);
        empty = false;
    }
    let place = match resource_version {
        Some(version) => Place::Root(version),
        None => Place::Inside,
    };
    writer.fields(schema::get(id), raw, &mut empty, place, 0)?;
    writer.out.push(b'}');
    Ok(())
}

/// Where the message stands, for the resourceVersion that is put into `metadata`.
#[derive(Clone, Copy)]
enum Place {
    Root(u64),
    Metadata(u64),
    Inside,
}

/// Where the records of a field are: the start of the first and the end of the last; `end` is 0 when there is none.
#[derive(Clone, Copy, Default)]
struct Slot {
    start: u32,
    last: u32,
    end: u32,
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    embedded: Embedded,
}

impl Writer<'_> {
    fn object(&mut self, id: TypeId, raw: &[u8], place: Place, depth: usize) -> Result<(), Error> {
        self.out.push(b'{');
        let mut empty = true;
        self.fields(schema::get(id), raw, &mut empty, place, depth)?;
        self.out.push(b'}');
        Ok(())
    }

    /// The fields of a message, between braces that the caller writes.
    fn fields(
        &mut self,
        t: &'static Type,
        raw: &[u8],
        empty: &mut bool,
        place: Place,
        depth: usize,
    ) -> Result<(), Error> {
        // Most messages are small; clearing 64 slots for each would cost more than reading it.
        if t.fields.len() <= 8 {
            self.fields_in(t, raw, empty, place, depth, &mut [Slot::default(); 8])
        } else {
            self.fields_in(t, raw, empty, place, depth, &mut [Slot::default(); 64])
        }
    }

    fn fields_in(
        &mut self,
        t: &'static Type,
        raw: &[u8],
        empty: &mut bool,
        place: Place,
        depth: usize,
        slots: &mut [Slot],
    ) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(too_deep());
        }
        if u32::try_from(raw.len()).is_err() {
            return Err(Error::Decode("message is larger than 4 GiB".to_owned()));
        }
        let mut records = Records::new(raw);
        while let Some(record) = records.next()? {
            let Some(slot) = t.tag_index(record.tag).and_then(|i| slots.get_mut(i)) else {
                continue;
            };
            if slot.end == 0 {
                slot.start = record.start as u32;
            }
            slot.last = record.start as u32;
            slot.end = record.end as u32;
        }
        for (field, slot) in t.fields.iter().zip(slots.iter()) {
            self.field(field, raw, *slot, empty, place, depth)?;
        }
        Ok(())
    }

    fn name(&mut self, field: &Field, empty: &mut bool) {
        if !*empty {
            self.out.push(b',');
        }
        *empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(field.json.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn field(
        &mut self,
        field: &'static Field,
        raw: &[u8],
        slot: Slot,
        empty: &mut bool,
        place: Place,
        depth: usize,
    ) -> Result<(), Error> {
        let present = slot.end > 0;
        if field.shape != Shape::Single {
            if present {
                self.name(field, empty);
                let part = Records::from(raw.get(..slot.end as usize).unwrap_or(raw), slot.start as usize);
                return if field.shape == Shape::List {
                    self.list(field, part, depth)
                } else {
                    self.map(field, part, depth)
                };
            }
            if !field.omit_empty {
                self.name(field, empty);
                self.out.extend_from_slice(b"null");
            }
            return Ok(());
        }
        if let Place::Metadata(version) = place
            && field.json == "resourceVersion"
        {
            self.name(field, empty);
            self.out.push(b'"');
            self.out
                .extend_from_slice(itoa::Buffer::new().format(version).as_bytes());
            self.out.push(b'"');
            return Ok(());
        }
        let payload = if present {
            Records::from(raw, slot.last as usize).next()?.map(|r| r.payload)
        } else {
            None
        };
        if field.is_inlined() {
            let (Some(id), false) = (field.message(), field.pointer && !present) else {
                return Ok(());
            };
            let body = payload.map_or(Ok(&[][..]), Payload::bytes)?;
            return self.fields(schema::get(id), body, empty, Place::Inside, depth + 1);
        }
        let place = match place {
            Place::Root(version) if field.json == "metadata" => Place::Metadata(version),
            _ => Place::Inside,
        };
        self.single(field, payload, empty, place, depth)
    }

    fn single(
        &mut self,
        field: &'static Field,
        payload: Option<Payload>,
        empty: &mut bool,
        place: Place,
        depth: usize,
    ) -> Result<(), Error> {
        let Some(payload) = payload else {
            if field.pointer || matches!(field.kind, Kind::Bytes | Kind::Strings) {
                if !field.omit_empty {
                    self.name(field, empty);
                    self.out.extend_from_slice(b"null");
                }
                return Ok(());
            }
            return match field.kind {
                Kind::String | Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Double | Kind::Duration
                    if field.omit_empty =>
                {
                    Ok(())
                }
                _ if field.omit_zero => Ok(()),
                Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Duration => {
                    self.named_value(field, Payload::Varint(0), empty, place, depth)
                }
                Kind::Double => self.named_value(field, Payload::Fixed64(0), empty, place, depth),
                _ => self.named_value(field, Payload::Bytes(&[]), empty, place, depth),
            };
        };
        if !field.pointer {
            let zero = match (field.kind, payload) {
                (Kind::String | Kind::Bytes, Payload::Bytes(b)) => field.omit_empty && b.is_empty(),
                (Kind::Bool | Kind::Int32 | Kind::Int64, Payload::Varint(v)) => field.omit_empty && v == 0,
                (Kind::Double, Payload::Fixed64(v)) => field.omit_empty && f64::from_bits(v) == 0.0,
                (_, Payload::Bytes(b)) => field.omit_zero && b.is_empty(),
                _ => false,
            };
            if zero {
                return Ok(());
            }
        }
        self.named_value(field, payload, empty, place, depth)
    }

    fn named_value(
        &mut self,
        field: &'static Field,
        payload: Payload,
        empty: &mut bool,
        place: Place,
        depth: usize,
    ) -> Result<(), Error> {
        self.name(field, empty);
        self.value(field.kind, payload, place, depth)
    }

    fn value(&mut self, kind: Kind, payload: Payload, place: Place, depth: usize) -> Result<(), Error> {
        match kind {
            Kind::String => text::put_string(payload.bytes()?, self.out),
            Kind::Bytes => text::put_base64(payload.bytes()?, self.out),
            Kind::Bool => self.bool(payload.varint()? != 0),
            Kind::Int32 => text::put_int(i64::from(payload.varint()? as i32), self.out),
            Kind::Int64 => text::put_int(payload.varint()? as i64, self.out),
            Kind::Double => text::put_double(payload.double()?, self.out),
            Kind::Time | Kind::MicroTime => self.time(kind, payload.bytes()?)?,
            Kind::Duration => {
                let nanos = match payload {
                    Payload::Bytes(b) => wire::last(b, 1)?.map_or(Ok(0), Payload::varint)?,
                    other => other.varint()?,
                };
                text::put_string(time::format_duration(nanos as i64).as_bytes(), self.out);
            }
            Kind::Quantity => match wire::last(payload.bytes()?, 1)?.map_or(Ok(&[][..]), Payload::bytes)? {
                [] => self.out.extend_from_slice(b"\"0\""),
                quantity => text::put_string(quantity, self.out),
            },
            Kind::IntOrString => self.int_or_string(payload.bytes()?)?,
            Kind::FieldsV1 | Kind::AnyJson => {
                let json = wire::last(payload.bytes()?, 1)?.map_or(Ok(&[][..]), Payload::bytes)?;
                self.embedded_json(json)?;
            }
            Kind::RawExtension => self.raw_extension(payload.bytes()?, depth)?,
            Kind::Strings => self.strings(payload.bytes()?, 1)?,
            Kind::SchemaOrArray => {
                let body = payload.bytes()?;
                if wire::last(body, 2)?.is_some() {
                    self.schemas(body, depth)?;
                } else {
                    self.schema_or(body, 1, "null", depth)?;
                }
            }
            Kind::SchemaOrBool => {
                let body = payload.bytes()?;
                let allows = wire::last(body, 1)?.map_or(Ok(0), Payload::varint)? != 0;
                self.schema_or(body, 2, if allows { "true" } else { "false" }, depth)?;
            }
            Kind::SchemaOrStrings => {
                let body = payload.bytes()?;
                if wire::last(body, 2)?.is_some() {
                    self.strings(body, 2)?;
                } else {
                    self.schema_or(body, 1, "null", depth)?;
                }
            }
            Kind::Message(id) => self.object(id, payload.bytes()?, place, depth + 1)?,
        }
        Ok(())
    }

    fn list(&mut self, field: &'static Field, mut records: Records, depth: usize) -> Result<(), Error> {
        self.out.push(b'[');
        let mut first = true;
        while let Some(record) = records.next()? {
            if record.tag != field.tag {
                continue;
            }
            if let (Kind::Int32 | Kind::Int64, Payload::Bytes(packed)) = (field.kind, record.payload) {
                // Other encoders pack numbers, which every decoder has to take.
                let mut rest = packed;
                while !rest.is_empty() {
                    let (value, used) = wire::varint(rest)?;
                    rest = rest.get(used..).unwrap_or_default();
                    self.comma(&mut first);
                    self.value(field.kind, Payload::Varint(value), Place::Inside, depth)?;
                }
                continue;
            }
            self.comma(&mut first);
            self.value(field.kind, record.payload, Place::Inside, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn map(&mut self, field: &'static Field, mut records: Records, depth: usize) -> Result<(), Error> {
        self.out.push(b'{');
        let mut first = true;
        while let Some(record) = records.next()? {
            if record.tag != field.tag {
                continue;
            }
            let (mut key, mut value) = (&[][..], None);
            let mut entry = Records::new(record.payload.bytes()?);
            while let Some(part) = entry.next()? {
                match part.tag {
                    1 => key = part.payload.bytes()?,
                    2 => value = Some(part.payload),
                    _ => {}
                }
            }
            self.comma(&mut first);
            text::put_string(key, self.out);
            self.out.push(b':');
            self.value(field.kind, value.unwrap_or(Payload::Bytes(&[])), Place::Inside, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn comma(&mut self, first: &mut bool) {
        if !*first {
            self.out.push(b',');
        }
        *first = false;
    }

    fn bool(&mut self, value: bool) {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn time(&mut self, kind: Kind, body: &[u8]) -> Result<(), Error> {
        let (mut seconds, mut nanos) = (0_i64, 0_u64);
        let mut records = Records::new(body);
        while let Some(record) = records.next()? {
            match record.tag {
                1 => seconds = record.payload.varint()? as i64,
                2 => nanos = record.payload.varint()?,
                _ => {}
            }
        }
        if body.is_empty() || (seconds == time::ZERO_SECONDS && nanos == 0) {
            self.out.extend_from_slice(b"null");
            return Ok(());
        }
        let micros = (kind == Kind::MicroTime).then_some((nanos % 1_000_000_000 / 1_000) as u32);
        self.out.push(b'"');
        if !time::format(seconds, micros, self.out) {
            return Err(Error::Decode(format!(
                "time of {seconds} seconds is outside of years 1 to 9999"
            )));
        }
        self.out.push(b'"');
        Ok(())
    }

    fn int_or_string(&mut self, body: &[u8]) -> Result<(), Error> {
        let (mut is_string, mut number, mut string) = (false, 0, &[][..]);
        let mut records = Records::new(body);
        while let Some(record) = records.next()? {
            match record.tag {
                1 => is_string = record.payload.varint()? == 1,
                2 => number = record.payload.varint()? as i32,
                3 => string = record.payload.bytes()?,
                _ => {}
            }
        }
        if is_string {
            text::put_string(string, self.out);
        } else {
            text::put_int(i64::from(number), self.out);
        }
        Ok(())
    }

    fn embedded_json(&mut self, json: &[u8]) -> Result<(), Error> {
        if json.is_empty() {
            self.out.extend_from_slice(b"null");
            return Ok(());
        }
        if self.embedded == Embedded::Checked {
            serde_json::from_slice::<serde::de::IgnoredAny>(json)
                .map_err(|e| Error::Decode(format!("embedded JSON: {e}")))?;
        }
        self.out.extend_from_slice(json);
        Ok(())
    }

    /// An object of its own inside another: JSON, or an enveloped message when a protobuf client sent it.
    fn raw_extension(&mut self, body: &[u8], depth: usize) -> Result<(), Error> {
        let raw = wire::last(body, 1)?.map_or(Ok(&[][..]), Payload::bytes)?;
        if !raw.starts_with(&MAGIC) {
            return self.embedded_json(raw);
        }
        let envelope = unwrap_envelope(raw)?;
        let (group, version) = envelope
            .api_version
            .rsplit_once('/')
            .unwrap_or(("", envelope.api_version));
        let id = resources::type_of(group, version, envelope.kind)
            .ok_or_else(|| Error::UnknownKind(format!("{}, {}", envelope.api_version, envelope.kind)))?;
        self.out.extend_from_slice(b"{\"kind\":");
        text::put_string(envelope.kind.as_bytes(), self.out);
        self.out.extend_from_slice(b",\"apiVersion\":");
        text::put_string(envelope.api_version.as_bytes(), self.out);
        let mut empty = false;
        self.fields(schema::get(id), envelope.raw, &mut empty, Place::Inside, depth + 1)?;
        self.out.push(b'}');
        Ok(())
    }

    fn strings(&mut self, body: &[u8], tag: u32) -> Result<(), Error> {
        self.out.push(b'[');
        let mut first = true;
        let mut records = Records::new(body);
        while let Some(record) = records.next()? {
            if record.tag == tag {
                self.comma(&mut first);
                text::put_string(record.payload.bytes()?, self.out);
            }
        }
        self.out.push(b']');
        Ok(())
    }

    fn schemas(&mut self, body: &[u8], depth: usize) -> Result<(), Error> {
        self.out.push(b'[');
        let mut first = true;
        let mut records = Records::new(body);
        while let Some(record) = records.next()? {
            if record.tag == 2 {
                self.comma(&mut first);
                self.object(JSON_SCHEMA_PROPS, record.payload.bytes()?, Place::Inside, depth + 1)?;
            }
        }
        self.out.push(b']');
        Ok(())
    }

    /// The schema at `tag` of a union, or what stands for it when there is none.
    fn schema_or(&mut self, body: &[u8], tag: u32, otherwise: &str, depth: usize) -> Result<(), Error> {
        match wire::last(body, tag)? {
            Some(schema) => self.object(JSON_SCHEMA_PROPS, schema.bytes()?, Place::Inside, depth + 1),
            None => {
                self.out.extend_from_slice(otherwise.as_bytes());
                Ok(())
            }
        }
    }
}
