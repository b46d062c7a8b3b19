//! The account with the authority: one for each authority, made when it is first needed.

use std::io;

use instant_acme::{Account, AccountBuilder, AccountCredentials, NewAccount};

use crate::{Acme, AcmeError, write};

impl Acme {
    /// The account, made when there is none. Whoever set the directory's URL has agreed to its terms.
    pub(crate) async fn account(&self) -> Result<Account, AcmeError> {
        let path = self.home.join("acme/account.json");
        let known = match std::fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(AcmeError::File { path, source }),
        };
        if let Some(bytes) = known {
            let unreadable = |source| AcmeError::Account {
                path: path.clone(),
                source,
            };
            let known: serde_json::Value = serde_json::from_slice(&bytes).map_err(unreadable)?;
            // Another authority has never heard of this account.
            if known["directory"] == self.settings.directory.as_str() {
                let known: AccountCredentials =
                    serde_json::from_value(known).map_err(unreadable)?;
                let account = self.builder()?.from_credentials(known).await;
                return account.map_err(self.failed("cannot use the account"));
            }
        }
        let contact: Vec<&str> = self.settings.contact.iter().map(String::as_str).collect();
        let asked = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let made = self
            .builder()?
            .create(&asked, self.settings.directory.clone(), None);
        let (account, credentials) = made.await.map_err(self.failed("cannot make an account"))?;
        let text = serde_json::to_string(&credentials).map_err(|source| AcmeError::Account {
            path: path.clone(),
            source,
        })?;
        write(&path, &text)?;
        Ok(account)
    }

    fn builder(&self) -> Result<AccountBuilder, AcmeError> {
        let builder = match &self.settings.root {
            Some(root) => Account::builder_with_root(root),
            None => Account::builder(),
        };
        builder.map_err(self.failed("cannot begin to talk"))
    }
}
