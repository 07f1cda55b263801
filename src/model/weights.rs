//! The weights inside an ONNX file, as far as sessions can share them. Pure.

use prost::Message;

/// Weights smaller than this stay with each session: sharing them saves nothing that can be measured.
const WORTH_SHARING: usize = 64 << 10;

/// One weight of a graph.
#[derive(Debug)]
pub(super) struct Weight {
    pub(super) name: String,
    pub(super) shape: Vec<i64>,
    pub(super) values: Values,
}

/// The numbers of a weight.
#[derive(Debug)]
pub(super) enum Values {
    Float32(Vec<f32>),
    Int8(Vec<i8>),
}

// The fields of onnx.proto that hold weights; the rest is skipped.

#[derive(Message)]
struct ModelProto {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
}

#[derive(Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
}

#[derive(Message)]
struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

/// The large weights of a graph. A file that is no ONNX has none: ONNX Runtime says what is wrong with it.
pub(super) fn large_weights(model: &[u8]) -> Vec<Weight> {
    const FLOAT: i32 = 1;
    const INT8: i32 = 3;
    let graph = ModelProto::decode(model).ok().and_then(|model| model.graph).unwrap_or_default();
    let large = graph.initializer.into_iter().filter(|tensor| tensor.raw_data.len() >= WORTH_SHARING);
    large
        .filter_map(|tensor| {
            let values = match tensor.data_type {
                FLOAT => Values::Float32(
                    tensor.raw_data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
                ),
                INT8 => Values::Int8(tensor.raw_data.into_iter().map(u8::cast_signed).collect()),
                _ => return None,
            };
            Some(Weight { name: tensor.name, shape: tensor.dims, values })
        })
        .collect()
}
