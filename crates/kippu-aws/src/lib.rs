//! Keys of [`kippu`] in AWS Secrets Manager, read again while a server runs, and rotated by its
//! staging labels.
//!
//! - [`SecretsManager`] asks AWS, through the caller's client of the SDK.
//! - `SecretsManagerAgent` (feature `agent`) asks the Secrets Manager Agent or the Lambda
//!   extension, over HTTP on localhost.
//!
//! Both are a [`KeySource`](kippu::KeySource), for [`ReloadedKeys`](kippu::ReloadedKeys). The page
//! [`rotation`] has the labels, the permissions, an outline of a rotation function, and the
//! transcript of a rotation under load.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `sdk` | yes | `SecretsManager`, over [`aws-sdk-secretsmanager`](aws_sdk_secretsmanager) without an HTTP client |
//! | `agent` | no | `SecretsManagerAgent`, without the SDK |
//!
//! The HTTP client and its TLS are the application's: those of `aws-config`, with its default
//! features, or another.
//!
//! This release tracks aws-sdk-secretsmanager 1, and re-exports it: a client of another major
//! version is another type.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(any(feature = "agent", feature = "sdk"))]
mod error;
#[cfg(any(feature = "agent", feature = "sdk"))]
mod keys;
#[cfg(any(feature = "agent", feature = "sdk"))]
mod options;
#[cfg(any(feature = "agent", feature = "sdk"))]
mod version;

#[cfg(feature = "agent")]
mod agent;
#[cfg(feature = "sdk")]
mod secrets_manager;

#[doc = include_str!("rotation.md")]
pub mod rotation {}

#[cfg(feature = "sdk")]
pub use aws_sdk_secretsmanager;

#[cfg(feature = "agent")]
pub use self::agent::SecretsManagerAgent;
#[cfg(any(feature = "agent", feature = "sdk"))]
pub use self::error::SecretsManagerError;
#[cfg(feature = "sdk")]
pub use self::secrets_manager::SecretsManager;

/// The example of the README is compiled as a test.
#[cfg(all(doctest, feature = "sdk"))]
#[doc = include_str!("../README.md")]
struct Readme;
