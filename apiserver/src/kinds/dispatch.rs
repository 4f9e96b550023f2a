//! Which strategy a kind has.
use super::{Strategy, standard};
use keelson_machinery::resources::Resource;

pub fn strategy(resource: &Resource) -> &'static dyn Strategy {
    match (resource.group, resource.plural) {
        _ => &standard::Default,
    }
}
