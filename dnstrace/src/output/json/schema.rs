//! The JSON Schema of the lines: derived from their types, so that it cannot say anything else.

use schemars::{Schema, generate::SchemaSettings, transform::transform_subschemas};

use super::line::Line;

/// JSON Schema (draft 2020-12) of a line.
pub fn schema() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<Line<'static>>();
    schema.insert("title".to_owned(), "A line of dnstrace -o json".into());
    unwrap_descriptions(&mut schema);
    schema
}

/// Descriptions are doc comments, wrapped for source files: one line a paragraph here.
fn unwrap_descriptions(schema: &mut Schema) {
    if let Some(description) = schema.get("description").and_then(|text| text.as_str()) {
        let paragraphs: Vec<_> = description.split("\n\n").map(|text| text.replace('\n', " ")).collect();
        schema.insert("description".to_owned(), paragraphs.join("\n\n").into());
    }
    transform_subschemas(&mut unwrap_descriptions, schema);
}
