//! Door of the report room: from raw trial results to everything an exporter may know.

mod schema;

pub use schema::*;
