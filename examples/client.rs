//! Scores a file of messages with a running Arom server, in batches.
//!
//! ```sh
//! cargo run --release -- serve &
//! cargo run --release --example client -- http://127.0.0.1:50051 examples/messages.jsonl
//! ```

use std::error::Error;
use std::fs;

use arom::grpc::v1::batch_analyze_sentiment_result::Outcome;
use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::v1::{AnalyzeSentimentRequest, BatchAnalyzeSentimentRequest, Channel, SentimentLabel};

const BATCH: usize = 32;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    let file = args.next().unwrap_or_else(|| "examples/messages.jsonl".to_owned());
    for line in score_file(address, &file).await? {
        println!("{line}");
    }
    Ok(())
}

/// One printable line for each message of the file.
pub async fn score_file(address: String, file: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let requests = fs::read_to_string(file)?.lines().map(request).collect::<Result<Vec<_>, _>>()?;
    let mut client = SentimentServiceClient::connect(address).await?;
    let mut lines = Vec::new();
    for chunk in requests.chunks(BATCH) {
        let batch = BatchAnalyzeSentimentRequest { requests: chunk.to_vec() };
        let results = client.batch_analyze_sentiment(batch).await?.into_inner().results;
        for (request, result) in chunk.iter().zip(results) {
            lines.push(match result.outcome {
                Some(Outcome::Response(response)) => {
                    let sentiment = response.sentiment.unwrap_or_default();
                    let label = SentimentLabel::try_from(sentiment.label)?.as_str_name();
                    let label = label.trim_start_matches("SENTIMENT_LABEL_").to_lowercase();
                    format!("{} {label:<9} {:+.2} {}", response.message_id, sentiment.score, request.text)
                }
                Some(Outcome::Error(status)) => format!("{} error {}", request.message_id, status.message),
                None => return Err("a result without an outcome".into()),
            });
        }
    }
    Ok(lines)
}

fn request(line: &str) -> Result<AnalyzeSentimentRequest, Box<dyn Error>> {
    let message: serde_json::Value = serde_json::from_str(line)?;
    let field = |name: &str| message.get(name).and_then(|value| value.as_str()).unwrap_or_default();
    let channel = Channel::from_str_name(&format!("CHANNEL_{}", field("channel").to_uppercase()));
    Ok(AnalyzeSentimentRequest {
        text: field("text").to_owned(),
        message_id: field("message_id").to_owned(),
        channel: channel.unwrap_or_default().into(),
        ..AnalyzeSentimentRequest::default()
    })
}
