//! Holding leases, and ending attempts without rows.

use std::time::{Duration, Instant};

use eciton_proto::limits::{ERROR_LEN_MAX, RENEW_LEASES_MAX};
use eciton_proto::v1::{FailRequest, FailResponse, LeaseState, Outcome, RenewedLease};

use super::desk::{PullDesk, lease_name};
use super::error::{PullError, broken, lost};
use super::jobs::{FoundJob, PulledJob};
use super::token::Token;
use crate::run::schedule::leases::LeaseStanding;
use crate::run::settle::commit::AdmissionRefusal;
use crate::run::settle::failure::Failure;

impl PullDesk {
    /// Makes leases run anew from now: `Shards.Renew`. One answer for each token.
    ///
    /// # Errors
    /// [`PullError::Invalid`] for too many tokens or one that no peer gave: nothing is renewed then. What the
    /// database refuses.
    pub async fn renew(&self, tokens: &[Vec<u8>]) -> Result<Vec<RenewedLease>, PullError> {
        let asked = tokens.len();
        let tokens = self.tokens(tokens).await?;
        self.look().await?;
        let mut known = Vec::with_capacity(tokens.len());
        for token in tokens {
            known.push(match token {
                Some(token) => Some((token, self.job_of(&token).await?.1)),
                None => None,
            });
        }
        let mut leases = Vec::with_capacity(known.len());
        for known in known {
            let (state, lease_ms) = match known {
                Some((token, found)) => self.renew_one(&token, &found).await?,
                None => (LeaseState::Lost, 0),
            };
            leases.push(RenewedLease {
                state: state.into(),
                lease_ms,
            });
        }
        assert_eq!(leases.len(), asked, "an answer for each token");
        Ok(leases)
    }

    async fn renew_one(
        &self,
        token: &Token,
        found: &FoundJob,
    ) -> Result<(LeaseState, u64), PullError> {
        let job = match found {
            FoundJob::Open(job) if job.open.retries == token.shard_id.retries => job,
            FoundJob::Ended => return Ok((LeaseState::Ended, 0)),
            FoundJob::Open(_) | FoundJob::Cancelled | FoundJob::Waiting | FoundJob::Missing => {
                return Ok((LeaseState::Stopped, 0));
            }
        };
        let shard = job
            .open
            .ledger
            .shard_now(&job.open.name, token.shard_id.shard);
        if shard.await?.outcome() != Outcome::Unspecified {
            job.ended(token.shard_id.shard).await;
            return Ok((LeaseState::Ended, 0));
        }
        match self.hold(job, token).await {
            true => Ok((LeaseState::Held, job.open.lease_ms)),
            false => Ok((LeaseState::Lost, 0)),
        }
    }

    /// Makes one lease run anew; `false` if somebody else has the shard, or it was given back.
    pub(super) async fn hold(&self, job: &PulledJob, token: &Token) -> bool {
        let Token {
            shard_id, holder, ..
        } = *token;
        let is_ours = token.peer == self.0.peer;
        match self.0.leases.standing(shard_id, holder) {
            LeaseStanding::Lost => return false,
            LeaseStanding::Unknown if is_ours => return false,
            LeaseStanding::Held | LeaseStanding::RanOut | LeaseStanding::Unknown => {}
        }
        let until = Instant::now() + Duration::from_millis(job.open.lease_ms);
        if !self.0.leases.take(shard_id, holder, Some(until)) {
            return false;
        }
        if !self
            .0
            .db
            .lease(&lease_name(shard_id), job.open.lease_ms)
            .await
        {
            self.0.leases.lose(shard_id, holder);
            return false;
        }
        self.0.programs.held(holder, &job.open.name, until);
        true
    }

    /// Whether what was computed under a lease may still count, as far as can be told here. A lease that another peer
    /// gave is one that ran out, and what is between processes still names that peer: then the commit alone decides.
    pub(super) async fn may_count(&self, job: &PulledJob, token: &Token) -> bool {
        match self.0.leases.standing(token.shard_id, token.holder) {
            LeaseStanding::Held | LeaseStanding::Unknown => true,
            LeaseStanding::RanOut => self.hold(job, token).await,
            LeaseStanding::Lost => false,
        }
    }

    /// Gives shards back untried: `Shards.Release`.
    ///
    /// # Errors
    /// [`PullError::Invalid`] for too many tokens or one that no peer gave: nothing is given back then.
    pub async fn release(&self, tokens: &[Vec<u8>]) -> Result<(), PullError> {
        for token in self.tokens(tokens).await?.into_iter().flatten() {
            if self.0.leases.end(token.shard_id, token.holder, None) {
                self.0.db.release(&lease_name(token.shard_id)).await;
            }
            self.0.programs.ended(token.holder, false);
        }
        Ok(())
    }

    /// What the tokens of a request are: `None` for those of an earlier version.
    async fn tokens(&self, tokens: &[Vec<u8>]) -> Result<Vec<Option<Token>>, PullError> {
        if tokens.len() > RENEW_LEASES_MAX {
            let found = tokens.len();
            let what = format!("{found} tokens, expected at most {RENEW_LEASES_MAX}");
            return Err(PullError::Invalid(what));
        }
        let mut decoded = Vec::with_capacity(tokens.len());
        for token in tokens {
            decoded.push(self.decoded(token).await?);
        }
        assert!(
            decoded.len() <= RENEW_LEASES_MAX,
            "{} tokens",
            decoded.len()
        );
        Ok(decoded)
    }

    /// Counts a failed attempt and keeps its error, durably: `Shards.Fail`. It is done also if who waits for it goes
    /// away.
    ///
    /// # Errors
    /// [`PullError::Lost`] if the lease was lost or has ended, [`PullError::Stopped`] if the job was cancelled or
    /// retried; [`PullError::Invalid`]: nothing is counted then. What the database refuses.
    pub async fn fail(&self, request: FailRequest) -> Result<FailResponse, PullError> {
        let desk = self.clone();
        let failing = tokio::spawn(async move { desk.fail_to_its_end(&request).await });
        failing.await.map_err(broken)?
    }

    async fn fail_to_its_end(&self, request: &FailRequest) -> Result<FailResponse, PullError> {
        let len = request.error.len();
        if len == 0 || len > ERROR_LEN_MAX {
            return Err(PullError::Invalid(format!(
                "the error has {len} bytes, expected 1 to {ERROR_LEN_MAX}"
            )));
        }
        let token = self.token(&request.token).await?;
        self.look().await?;
        let (name, found) = self.job_of(&token).await?;
        let job = match found {
            FoundJob::Open(job) if job.open.retries == token.shard_id.retries => job,
            FoundJob::Ended => return Err(lost(&token)),
            _ => return Err(PullError::Stopped(name)),
        };
        let is_ended = self.0.leases.standing(token.shard_id, token.holder)
            == LeaseStanding::Unknown
            && token.peer == self.0.peer;
        if is_ended || !self.may_count(&job, &token).await {
            return Err(lost(&token));
        }
        let error = &request.error;
        let failure = job
            .open
            .record_failure(
                token.shard_id.shard,
                Some(token.attempts),
                error,
                request.transient,
            )
            .await?;
        match &failure {
            Failure::Final(attempts) => {
                let attempts = *attempts;
                self.failed(&job, &token, &failure, error).await;
                Ok(FailResponse {
                    failed: true,
                    attempts,
                })
            }
            Failure::Again { wait, .. } => {
                let rests_until = Instant::now() + *wait;
                self.0
                    .leases
                    .end(token.shard_id, token.holder, Some(rests_until));
                self.0.programs.ended(token.holder, false);
                self.0.db.release(&lease_name(token.shard_id)).await;
                failure.tell(&*job.observer, token.shard_id.shard, error);
                Ok(FailResponse {
                    failed: false,
                    attempts: token.attempts + 1,
                })
            }
            Failure::NotAdmitted(AdmissionRefusal::Cancelled | AdmissionRefusal::Changed) => {
                Err(PullError::Stopped(name))
            }
            Failure::NotAdmitted(AdmissionRefusal::Ended) => Err(lost(&token)),
        }
    }

    /// A shard has failed for good.
    pub(super) async fn failed(
        &self,
        job: &PulledJob,
        token: &Token,
        failure: &Failure,
        error: &str,
    ) {
        self.0.leases.end(token.shard_id, token.holder, None);
        self.0.programs.ended(token.holder, false);
        failure.tell(&*job.observer, token.shard_id.shard, error);
        job.ended(token.shard_id.shard).await;
    }
}
