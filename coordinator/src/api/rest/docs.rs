//! The API's documentation: the OpenAPI document, and Swagger UI on it, served from within the binary. A browser is
//! sent to no other host.

use super::errors::ApiError;
use super::openapi::openapi;
use super::reply;
use crate::service::ServiceError;
use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use std::sync::{Arc, LazyLock};
use utoipa_swagger_ui::Config;

static DOCUMENT: LazyLock<utoipa::openapi::OpenApi> = LazyLock::new(openapi);

/// Swagger UI would otherwise have the document checked by a server on the internet.
static CONFIG: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("openapi.json").validator_url("none")));

/// Paths are relative, so that the page also works behind a proxy that adds a prefix.
const PAGE: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Sealdex API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="stylesheet" href="docs/index.css">
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/swagger-ui-standalone-preset.js"></script>
<script src="docs/swagger-initializer.js"></script>
</body>
</html>
"#;

/// Holds the browser to what the page says it does.
const POLICY: (HeaderName, HeaderValue) = (
    header::CONTENT_SECURITY_POLICY,
    HeaderValue::from_static(
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         font-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
);

/// The OpenAPI document.
pub(super) async fn document() -> Response {
    reply::ok(&*DOCUMENT)
}

/// Swagger UI.
pub(super) async fn page() -> Response {
    ([POLICY], Html(PAGE)).into_response()
}

/// ReDoc is not included; Swagger UI shows the same document.
pub(super) async fn redoc() -> Redirect {
    Redirect::temporary("docs")
}

/// One of the files that the page is made of.
pub(super) async fn asset(Path(file): Path<String>) -> Result<Response, ApiError> {
    let found = utoipa_swagger_ui::serve(&file, CONFIG.clone());
    let file = found
        .map_err(|error| ServiceError::internal(error.to_string()))?
        .ok_or(ApiError::NoSuchRoute)?;
    let content_type = HeaderValue::from_str(&file.content_type)
        .map_err(|error| ServiceError::internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, content_type)], file.bytes.into_owned()).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn text(response: Response) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_page_is_made_of_files_that_are_there() {
        let page = text(page().await).await;
        let files: Vec<&str> = page
            .split("\"docs/")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert_eq!(files.len(), 6);
        for file in files {
            assert!(asset(Path(file.into())).await.is_ok(), "{file}");
        }
        assert!(!page.contains("//"));
        assert!(asset(Path("../Cargo.toml".into())).await.is_err());
    }

    #[tokio::test]
    async fn swagger_ui_reads_our_document_and_asks_nobody_to_check_it() {
        let initializer = text(asset(Path("swagger-initializer.js".into())).await.ok().unwrap()).await;
        assert!(initializer.contains("\"openapi.json\""));
        assert!(initializer.contains("\"validatorUrl\": \"none\""));
        assert!(!initializer.contains("http"));
    }
}
