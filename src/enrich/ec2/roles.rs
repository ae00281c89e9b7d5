//! Whose credentials a call is signed with: those of the process, or of the role in the account that is asked.
//!
//! Invariant: an account's id comes from the pipeline file or from Organizations, never from a log line, and one
//! account has one pair of credentials at a time, however many Regions wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_sdk_sts::config::{Credentials, ProvideCredentials};
use aws_sdk_sts::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use super::endpoint::partition_of;
use super::error::{Fault, Subject};
use crate::aws::Class;
use crate::config::types::Ec2;

/// Credentials are fetched anew this long before they end: longer than any call takes.
const BEFORE_THE_END: Duration = Duration::from_secs(300);
/// Credentials that name no end are fetched anew after this: a file or a variable may have changed.
const WITHOUT_AN_END: Duration = Duration::from_secs(900);
/// The session's name in CloudTrail where the pipeline file sets none.
const SESSION: &str = "tunnelog";

/// See the module.
#[derive(Debug)]
pub(super) struct Roles {
    sdk: SdkConfig,
    sts: aws_sdk_sts::Client,
    role: Option<String>,
    external_id: Option<String>,
    session_name: String,
    region: String,
    /// By role; the empty one is the process's own.
    held: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Held>>>>>,
}

#[derive(Debug)]
struct Held {
    credentials: Credentials,
    until: SystemTime,
}

impl Roles {
    pub(super) fn new(config: &Ec2, region: &str, sdk: &SdkConfig) -> Roles {
        Roles {
            sts: aws_sdk_sts::Client::new(sdk),
            sdk: sdk.clone(),
            role: config.assume_role.clone(),
            external_id: config.external_id.clone(),
            session_name: config.session_name.clone().unwrap_or_else(|| SESSION.to_owned()),
            region: region.to_owned(),
            held: Mutex::default(),
        }
    }

    /// The role in an account.
    pub(super) fn arn(&self, account: &str) -> Option<String> {
        let role = self.role.as_deref()?;
        Some(role.replace("{account}", account).replace("{partition}", partition_of(&self.region).name))
    }

    /// Credentials of a role, or of the process itself; the error is the whole story.
    pub(super) async fn credentials(&self, role: Option<&str>) -> Result<Credentials, (Fault, String)> {
        let cell = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(held.entry(role.unwrap_or_default().to_owned()).or_default())
        };
        let mut held = cell.lock().await;
        let now = self.sdk.time_source().unwrap_or_default().now();
        if let Some(held) = held.as_ref().filter(|held| now < held.until) {
            return Ok(held.credentials.clone());
        }
        let fetched = match role {
            Some(role) => self.assume(role).await,
            None => self.own().await,
        };
        let credentials = fetched.map_err(|fault| {
            let subject = Subject {
                action: if role.is_some() { "sts:AssumeRole" } else { "looking for credentials" },
                what: role.unwrap_or("this process").to_owned(),
                region: &self.region,
                role: None,
            };
            let text = subject.explain(&fault);
            (fault, text)
        })?;
        let until = match credentials.expiry() {
            Some(end) => end - BEFORE_THE_END,
            None => now + WITHOUT_AN_END,
        };
        *held = Some(Held { credentials: credentials.clone(), until });
        Ok(credentials)
    }

    /// These credentials were refused: the next call fetches others.
    pub(super) async fn forget(&self, role: Option<&str>) {
        let cell = self.held.lock().unwrap_or_else(PoisonError::into_inner).get(role.unwrap_or_default()).cloned();
        if let Some(cell) = cell {
            *cell.lock().await = None;
        }
    }

    /// The account of the process's own credentials.
    pub(super) async fn own_account(&self) -> Result<String, String> {
        match self.sts.get_caller_identity().send().await {
            Ok(identity) => identity.account().map(str::to_owned).ok_or_else(|| "STS names no account".to_owned()),
            Err(error) => {
                let (what, region) = ("this process".to_owned(), self.region.as_str());
                let subject = Subject { action: "sts:GetCallerIdentity", what, region, role: None };
                Err(subject.explain(&fault_of(&error)))
            }
        }
    }

    async fn own(&self) -> Result<Credentials, Fault> {
        let none = || Fault::new(Class::Credentials, "no credentials were found");
        let provider = self.sdk.credentials_provider().ok_or_else(none)?;
        let failed = |error| Fault::new(Class::Credentials, DisplayErrorContext(&error).to_string());
        provider.provide_credentials().await.map_err(failed)
    }

    async fn assume(&self, role: &str) -> Result<Credentials, Fault> {
        let call = self.sts.assume_role().role_arn(role).role_session_name(&self.session_name);
        let answer = call.set_external_id(self.external_id.clone()).send().await.map_err(|error| fault_of(&error))?;
        let empty = || Fault::new(Class::Unavailable, "the answer has no credentials");
        let given = answer.credentials().ok_or_else(empty)?;
        let until = SystemTime::try_from(*given.expiration()).map_err(|_| empty())?;
        let token = Some(given.session_token().to_owned());
        Ok(Credentials::new(given.access_key_id(), given.secret_access_key(), token, Some(until), "tunnelog"))
    }
}

fn fault_of<E, R>(error: &SdkError<E, R>) -> Fault
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    match error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or("AccessDenied").to_owned();
            Fault::of_answer(0, code, service.err().message().unwrap_or_default())
        }
        SdkError::TimeoutError(_) => Fault::new(Class::Unavailable, "STS has not answered in time"),
        other => {
            let said = DisplayErrorContext(other).to_string();
            let class = if said.contains("redentials") { Class::Credentials } else { Class::Unavailable };
            Fault::new(class, said)
        }
    }
}
