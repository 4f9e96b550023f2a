//! Request parsing, content negotiation, discovery, OpenAPI, health.
