//! Rows to Arrow's columns, by the published list.
//!
//! Names of nested fields are those of Parquet's own specification, which Athena, Spark and DuckDB agree on.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Int64Builder, ListBuilder, MapBuilder, MapFieldNames, StringBuilder, StructBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use super::columns::{COLUMNS, Column, Read};
use super::row::Row;
use crate::event::Millis;

/// The files' schema.
pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(COLUMNS.iter().map(field).collect::<Vec<_>>()))
}

fn field(column: &Column) -> Field {
    let data_type = match column.read {
        Read::Text(_) | Read::Derived(_) => DataType::Utf8,
        Read::Number(_) => DataType::Int64,
        Read::Time(_) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Read::Flag(_) => DataType::Boolean,
        Read::Numbers(_) => DataType::List(Arc::new(element(DataType::Int64))),
        Read::Map(_) => {
            let fields = [Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)];
            let entries = Field::new("key_value", DataType::Struct(Fields::from_iter(fields)), false);
            DataType::Map(Arc::new(entries), false)
        }
        Read::Problems(_) => DataType::List(Arc::new(element(DataType::Struct(problem())))),
    };
    Field::new(column.name, data_type, true)
}

fn element(data_type: DataType) -> Field {
    Field::new("element", data_type, true)
}

fn problem() -> Fields {
    ["field", "value"].into_iter().map(|name| Field::new(name, DataType::Utf8, true)).collect()
}

/// Some rows, column by column.
pub(super) struct Batch {
    schema: SchemaRef,
    columns: Vec<(&'static Column, Builder)>,
    rows: usize,
}

enum Builder {
    Text(StringBuilder),
    Number(Int64Builder),
    Time(TimestampMicrosecondBuilder),
    Flag(BooleanBuilder),
    Numbers(ListBuilder<Int64Builder>),
    Map(MapBuilder<StringBuilder, StringBuilder>),
    Problems(ListBuilder<StructBuilder>),
}

impl Batch {
    pub(super) fn new(schema: SchemaRef) -> Batch {
        Batch { schema, columns: COLUMNS.iter().map(|column| (column, Builder::of(&column.read))).collect(), rows: 0 }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn push(&mut self, row: &Row<'_>) -> Result<(), ArrowError> {
        self.rows += 1;
        self.columns.iter_mut().try_for_each(|(column, builder)| builder.append(&column.read, row))
    }

    /// The rows so far; none are left.
    pub(super) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let arrays = self.columns.iter_mut().map(|(_, builder)| builder.finish()).collect();
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
    }
}

impl Builder {
    fn of(read: &Read) -> Builder {
        match read {
            Read::Text(_) | Read::Derived(_) => Builder::Text(StringBuilder::new()),
            Read::Number(_) => Builder::Number(Int64Builder::new()),
            Read::Time(_) => Builder::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            Read::Flag(_) => Builder::Flag(BooleanBuilder::new()),
            Read::Numbers(_) => {
                Builder::Numbers(ListBuilder::new(Int64Builder::new()).with_field(element(DataType::Int64)))
            }
            Read::Map(_) => {
                let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
                Builder::Map(MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new()))
            }
            Read::Problems(_) => {
                let fields = StructBuilder::from_fields(problem(), 0);
                Builder::Problems(ListBuilder::new(fields).with_field(element(DataType::Struct(problem()))))
            }
        }
    }

    fn append(&mut self, read: &Read, row: &Row<'_>) -> Result<(), ArrowError> {
        match (self, read) {
            (Builder::Text(builder), Read::Text(read)) => builder.append_option(read(row)),
            (Builder::Text(builder), Read::Derived(read)) => builder.append_option(read(row)),
            (Builder::Number(builder), Read::Number(read)) => builder.append_option(read(row).and_then(signed)),
            (Builder::Time(builder), Read::Time(read)) => builder.append_option(read(row).and_then(micros)),
            (Builder::Flag(builder), Read::Flag(read)) => builder.append_option(read(row)),
            (Builder::Numbers(builder), Read::Numbers(read)) => {
                builder.append_option(read(row).map(|numbers| numbers.iter().map(|number| signed(*number))));
            }
            (Builder::Map(builder), Read::Map(read)) => {
                let tags = read(row);
                for (name, value) in tags.into_iter().flatten() {
                    builder.keys().append_value(name);
                    builder.values().append_value(value);
                }
                builder.append(tags.is_some())?;
            }
            (Builder::Problems(builder), Read::Problems(read)) => append_problems(builder, read(row)),
            // A builder is made for its column.
            _ => return Err(ArrowError::SchemaError("a column's builder is of another type".into())),
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Text(builder) => Arc::new(builder.finish()),
            Builder::Number(builder) => Arc::new(builder.finish()),
            Builder::Time(builder) => Arc::new(builder.finish()),
            Builder::Flag(builder) => Arc::new(builder.finish()),
            Builder::Numbers(builder) => Arc::new(builder.finish()),
            Builder::Map(builder) => Arc::new(builder.finish()),
            Builder::Problems(builder) => Arc::new(builder.finish()),
        }
    }
}

fn append_problems(builder: &mut ListBuilder<StructBuilder>, problems: &[super::row::Problem<'_>]) {
    for problem in problems {
        let fields = builder.values();
        for (place, text) in [problem.field.get(), problem.value.get()].into_iter().enumerate() {
            if let Some(field) = fields.field_builder::<StringBuilder>(place) {
                field.append_option(text);
            }
        }
        fields.append(true);
    }
    builder.append(!problems.is_empty());
}

/// Parquet has no unsigned number that Athena reads; what is beyond 63 bits is in no router's logs, and in `raw`.
fn signed(number: u64) -> Option<i64> {
    i64::try_from(number).ok()
}

fn micros(text: &str) -> Option<i64> {
    Millis::parse(text)?.0.checked_mul(1000)
}
