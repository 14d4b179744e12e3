//! The command `import`: moves accounts of another application in, from a CSV file. A file with an
//! error is not imported at all. Importing the same file again changes nothing.

use std::{
    collections::{HashMap, hash_map::Entry},
    error::Error,
    fs, io,
    path::PathBuf,
};

use csv::{Position, ReaderBuilder, StringRecord, Trim};

use crate::{
    accounts::{Account, Accounts, AccountsError, MEMBER},
    email::Email,
    passwords,
    storage::Storage,
};

/// Imports accounts from a CSV file.
///
/// Its first line names the columns: email, password_hash, and role if there is one. Others are not
/// read. A password_hash is bcrypt's ($2a$, $2b$, $2y$; replaced at the account's next login) or
/// Argon2's as this server makes it. Accounts that are there already are reported and stay as they
/// are.
#[derive(clap::Args)]
#[expect(clippy::doc_markdown, reason = "it is the help of the command")]
pub(crate) struct Options {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Reads and checks everything, and changes nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("the file {} cannot be read", .0.display())]
    Open(PathBuf, #[source] io::Error),
    #[error("nothing was imported: {0}")]
    Faults(Faults),
    #[error(
        "the import stopped at line {line}: import the same file again when the database is back"
    )]
    Stopped { line: u64, source: AccountsError },
    #[error(transparent)]
    Randomness(#[from] getrandom::Error),
    #[error("the report cannot be written")]
    Report(#[from] io::Error),
}

/// The errors of a file, each with its line.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<(u64, String)>);

/// An account that the file describes.
struct Row {
    line: u64,
    email: Email,
    hash: String,
    role: String,
}

/// After so many errors the next ones are likely the same.
const SHOWN_FAULTS: usize = 20;

/// Imports a file into the accounts of a store, and prints a report.
pub(crate) async fn run(options: Options, store: &str) -> Result<(), Box<dyn Error>> {
    let accounts = Storage::open_accounts(&store.parse()?).await?;
    let imported = import(options, &accounts, io::stdout()).await;
    accounts.close().await;
    Ok(imported?)
}

async fn import(
    Options { file, dry_run }: Options,
    accounts: &Accounts,
    mut report: impl io::Write,
) -> Result<(), ImportError> {
    let bytes = fs::read(&file).map_err(|error| ImportError::Open(file, error))?;
    let rows = read(&bytes).map_err(ImportError::Faults)?;
    let (mut added, mut left) = (0_u64, 0_u64);
    for Row { line, email, hash, role } in rows {
        let stopped = |source| ImportError::Stopped { line, source };
        let is_new = if dry_run {
            accounts.by_name(email.account()).await.map_err(stopped)?.is_none()
        } else {
            let account = Account::new(&email, hash, &role)?;
            accounts.add(&account).await.map_err(stopped)?
        };
        if is_new {
            added += 1;
        } else {
            left += 1;
            writeln!(report, "line {line}: {} has an account already", email.address())?;
        }
    }
    let verb = if dry_run { "would be imported" } else { "imported" };
    writeln!(report, "{added} {verb}, {left} left as they were")?;
    Ok(())
}

/// Reads a whole file. Returns all of its errors if it has any.
fn read(bytes: &[u8]) -> Result<Vec<Row>, Faults> {
    // The reader goes on after a line with a wrong number of fields.
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(bytes);
    let columns = Columns::find(reader.headers()).map_err(|fault| Faults(vec![(1, fault)]))?;
    let mut faults = Faults::default();
    let mut rows: Vec<Row> = Vec::new();
    let mut lines: HashMap<String, u64> = HashMap::new();
    for record in reader.records() {
        let row = match &record {
            Ok(record) => {
                let line = line_at(bytes, record.position());
                columns.row(line, record).map_err(|fault| (line, fault))
            }
            Err(error) => Err((line_at(bytes, error.position()), words_of(error))),
        };
        match row {
            Err(fault) => faults.0.push(fault),
            Ok(row) => match lines.entry(row.email.account().to_owned()) {
                Entry::Occupied(first) => {
                    let fault = format!("{} is in line {} too", row.email.address(), first.get());
                    faults.0.push((row.line, fault));
                }
                Entry::Vacant(entry) => {
                    entry.insert(row.line);
                    rows.push(row);
                }
            },
        }
    }
    if faults.0.is_empty() { Ok(rows) } else { Err(faults) }
}

/// Returns the line of a record. The position is that before the empty lines that the reader skips.
fn line_at(bytes: &[u8], position: Option<&Position>) -> u64 {
    let Some(position) = position else { return 0 };
    let start = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let rest = bytes.get(start..).unwrap_or_default();
    let ends = rest.iter().take_while(|byte| b"\r\n".contains(byte));
    let empty = ends.filter(|byte| **byte == b'\n').map(|_| 1).sum::<u64>();
    position.line() + empty
}

/// The indices of the columns that are read.
struct Columns {
    email: usize,
    password_hash: usize,
    role: Option<usize>,
}

impl Columns {
    fn find(headers: Result<&StringRecord, csv::Error>) -> Result<Self, String> {
        let headers = headers.map_err(|error| words_of(&error))?;
        let find = |name: &str| {
            let mut named = headers.iter().enumerate().filter(|(_, header)| *header == name);
            match (named.next(), named.next()) {
                (Some(_), Some(_)) => Err(format!("the column {name} is there twice")),
                (found, _) => Ok(found.map(|(index, _)| index)),
            }
        };
        let need = |name: &str| {
            find(name)?.ok_or_else(|| {
                format!("the column {name} is missing: the first line is email,password_hash,role")
            })
        };
        Ok(Self {
            email: need("email")?,
            password_hash: need("password_hash")?,
            role: find("role")?,
        })
    }

    fn row(&self, line: u64, record: &StringRecord) -> Result<Row, String> {
        let field = |index: usize| record.get(index).unwrap_or_default();
        let text = field(self.email);
        let email =
            Email::parse(text).ok_or_else(|| format!("{text:?} is not an email address"))?;
        let hash = field(self.password_hash);
        passwords::check_hash(hash).map_err(|error| error.to_string())?;
        let role = match self.role.map_or("", field) {
            "" => MEMBER,
            role if is_role(role) => role,
            role => {
                return Err(format!(
                    "{role:?} is not a role: it has 1 to 32 letters a to z, digits, - and _"
                ));
            }
        };
        Ok(Row { line, email, hash: hash.to_owned(), role: role.to_owned() })
    }
}

fn is_role(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
}

/// Describes an error of the reader without its position and without the content of the line.
fn words_of(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "this is not UTF-8".to_owned(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("there are {len} fields, and {expected_len} columns")
        }
        _ => error.source().map_or_else(|| error.to_string(), ToString::to_string),
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (line, fault) in self.0.iter().take(SHOWN_FAULTS) {
            write!(f, "\nline {line}: {fault}")?;
        }
        match self.0.len().saturating_sub(SHOWN_FAULTS) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}
