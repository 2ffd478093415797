//! The document of `irsa url predict`.

use irsa_core::presign::{Form, Predicted, Prediction};
use irsa_core::sdk::Environment;
use irsa_fleet::report::API_VERSION;
use serde::Serialize;

use super::addressing::addressing_word;

/// The document of a prediction.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct PredictionReport {
    /// The SDK, as `--sdk` takes it.
    sdk: String,
    /// The SDK, as people know it.
    sdk_name: String,
    /// The form of the host, as in a `PresignedUrl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<&'static str>,
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// The path, with the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// Where the bucket stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    addressing: Option<&'static str>,
    /// `SigV2`, `SigV4` or `SigV4a`.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'static str>,
    /// The region in the credential scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope_region: Option<String>,
    /// The URL with words in place of what only a signer knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// The error, when there is no URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What decided, as a stable name.
    reason: &'static str,
    /// What decided, in words.
    message: &'static str,
    /// `tested`, `read`, `documented`, `reported` or `memory`.
    certainty: &'static str,
}

impl PredictionReport {
    pub(crate) fn new(prediction: &Prediction) -> Self {
        let form = match &prediction.predicted {
            Predicted::Form(form) => Some(form),
            Predicted::Error(_) | Predicted::DecidedByFile | Predicted::Never => None,
        };
        Self {
            sdk: prediction.sdk.id(),
            sdk_name: prediction.sdk.to_string(),
            form: form.map(Form::word),
            host: form.map(|f| f.host.clone()),
            path: form.map(|f| f.path.clone()),
            addressing: form.map(|f| addressing_word(f.addressing)),
            signature: form.map(|f| f.signature.as_str()),
            scope_region: form.and_then(|f| f.scope_region.clone()),
            url: form.map(Form::template),
            error: match &prediction.predicted {
                Predicted::Error(text) => Some(text.clone()),
                Predicted::Form(_) | Predicted::DecidedByFile | Predicted::Never => None,
            },
            reason: prediction.why.id(),
            message: prediction.why.sentence(),
            certainty: prediction.certainty.as_str(),
        }
    }
}

/// The forms that SDKs give a URL.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(super) struct PredictionList {
    /// `irsa/v1`.
    api_version: &'static str,
    /// `PresignPrediction`.
    kind: &'static str,
    /// The bucket that was asked about.
    bucket: String,
    /// The key that was asked about.
    key: String,
    /// The variables that were considered.
    environment: std::collections::BTreeMap<&'static str, String>,
    /// One for each SDK.
    predictions: Vec<PredictionReport>,
}

impl PredictionList {
    pub(super) fn new(
        bucket: &str,
        key: &str,
        environment: &Environment,
        predictions: &[Prediction],
    ) -> Self {
        Self {
            api_version: API_VERSION,
            kind: "PresignPrediction",
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            environment: environment
                .iter()
                .map(|(name, value)| (name, value.to_owned()))
                .collect(),
            predictions: predictions.iter().map(PredictionReport::new).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::offline::schema_is_current;

    #[test]
    fn the_schema_of_predict_is_current() {
        schema_is_current::<PredictionList>("presign-prediction.json");
    }
}
