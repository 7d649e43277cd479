//! An issue tracker: users, projects, issues and comments that refer to each other, with six indexes.
//!
//! `cargo run --example issue_tracker --features json`
#![allow(clippy::expect_used, clippy::print_stdout, reason = "an example shows what it does, and stops if it does not")]

use std::thread;

use serde::{Deserialize, Serialize};
use tenure::key::Desc;
use tenure::typed::{Id, IndexDefinition, Json, SetDefinition, TypedIndex, TypedSet};
use tenure::{Error, Result, Store, Transaction, View};

#[derive(Debug, Serialize, Deserialize)]
struct UserRecord {
    login: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct ProjectRecord {
    key: String,
    /// The number of the next issue. Two transactions that take the same number conflict, and the later one runs again.
    next: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct IssueRecord {
    project: Id<Project>,
    number: u32,
    title: String,
    reporter: Id<User>,
    assignee: Option<Id<User>>,
    labels: Vec<String>,
    open: bool,
    /// Counts changes of the whole tracker, so that lists can start with the last change.
    changed: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct CommentRecord {
    issue: Id<Issue>,
    author: Id<User>,
    text: String,
}

type User = Json<UserRecord>;
type Project = Json<ProjectRecord>;
type Issue = Json<IssueRecord>;
type Comment = Json<CommentRecord>;

const USERS: SetDefinition<User> = SetDefinition::new("users");
const PROJECTS: SetDefinition<Project> = SetDefinition::new("projects");
const ISSUES: SetDefinition<Issue> = SetDefinition::new("issues");
const COMMENTS: SetDefinition<Comment> = SetDefinition::new("comments");

const USER_BY_LOGIN: IndexDefinition<User, &str> = IndexDefinition::unique("login", 1, |user, put| put(&user.login));
const PROJECT_BY_KEY: IndexDefinition<Project, &str> =
    IndexDefinition::unique("key", 1, |project, put| put(&project.key));
const ISSUE_BY_NUMBER: IndexDefinition<Issue, (Id<Project>, u32)> =
    IndexDefinition::unique("number", 1, |issue, put| put((issue.project, issue.number)));
/// Open issues only, by assignee; an issue without an assignee is in no list.
const ISSUE_BY_ASSIGNEE: IndexDefinition<Issue, Id<User>> =
    IndexDefinition::new("assignee", 1, |issue, put| issue.assignee.filter(|_| issue.open).into_iter().for_each(put));
/// A project's open issues, the last changed first.
const ISSUE_BY_CHANGE: IndexDefinition<Issue, (Id<Project>, Desc<u64>)> =
    IndexDefinition::new("change", 1, |issue, put| {
        if issue.open {
            put((issue.project, Desc(issue.changed)));
        }
    });
const ISSUE_BY_LABEL: IndexDefinition<Issue, &str> =
    IndexDefinition::new("label", 1, |issue, put| issue.labels.iter().for_each(|label| put(label)));
const COMMENT_BY_ISSUE: IndexDefinition<Comment, Id<Issue>> =
    IndexDefinition::new("issue", 1, |comment, put| put(comment.issue));

/// A store with its sets and indexes.
struct Tracker {
    store: Store,
    users: TypedSet<User>,
    projects: TypedSet<Project>,
    issues: TypedSet<Issue>,
    comments: TypedSet<Comment>,
    user_by_login: TypedIndex<User, &'static str>,
    project_by_key: TypedIndex<Project, &'static str>,
    issue_by_number: TypedIndex<Issue, (Id<Project>, u32)>,
    issue_by_assignee: TypedIndex<Issue, Id<User>>,
    issue_by_change: TypedIndex<Issue, (Id<Project>, Desc<u64>)>,
    issue_by_label: TypedIndex<Issue, &'static str>,
    comment_by_issue: TypedIndex<Comment, Id<Issue>>,
}

impl Tracker {
    /// Opens the sets and indexes; those that do not exist yet are created.
    fn open(store: Store) -> Result<Self> {
        let users = store.typed_set(USERS)?;
        let projects = store.typed_set(PROJECTS)?;
        let issues = store.typed_set(ISSUES)?;
        let comments = store.typed_set(COMMENTS)?;
        Ok(Self {
            user_by_login: store.typed_index(&users, USER_BY_LOGIN)?,
            project_by_key: store.typed_index(&projects, PROJECT_BY_KEY)?,
            issue_by_number: store.typed_index(&issues, ISSUE_BY_NUMBER)?,
            issue_by_assignee: store.typed_index(&issues, ISSUE_BY_ASSIGNEE)?,
            issue_by_change: store.typed_index(&issues, ISSUE_BY_CHANGE)?,
            issue_by_label: store.typed_index(&issues, ISSUE_BY_LABEL)?,
            comment_by_issue: store.typed_index(&comments, COMMENT_BY_ISSUE)?,
            store,
            users,
            projects,
            issues,
            comments,
        })
    }

    fn add_user(&self, login: &str) -> Result<Id<User>> {
        self.store.write(|tx| self.users.insert(tx, &Json(UserRecord { login: login.to_owned() })))
    }

    fn add_project(&self, key: &str) -> Result<Id<Project>> {
        self.store.write(|tx| self.projects.insert(tx, &Json(ProjectRecord { key: key.to_owned(), next: 1 })))
    }

    fn report(&self, project: Id<Project>, reporter: Id<User>, title: &str, labels: &[&str]) -> Result<Id<Issue>> {
        self.store.write(|tx| {
            let mut counter = tx.fetch(project)?;
            let number = counter.next;
            counter.next += 1;
            self.projects.update(tx, project, &counter)?;
            let issue = IssueRecord {
                project,
                number,
                title: title.to_owned(),
                reporter,
                assignee: None,
                labels: labels.iter().map(|label| (*label).to_owned()).collect(),
                open: true,
                changed: self.change(),
            };
            self.issues.insert(tx, &Json(issue))
        })
    }

    /// Reads an issue, changes it and writes it, in one transaction.
    fn edit(&self, issue: Id<Issue>, edit: impl Fn(&mut Transaction, &mut IssueRecord) -> Result<()>) -> Result<()> {
        self.store.write(|tx| {
            let mut record = tx.fetch(issue)?;
            edit(tx, &mut record)?;
            record.changed = self.change();
            self.issues.update(tx, issue, &record)
        })
    }

    fn assign(&self, issue: Id<Issue>, user: Id<User>) -> Result<()> {
        self.edit(issue, |tx, record| {
            // Reading the user makes this a conflict with a transaction that deletes it.
            tx.fetch(user)?;
            record.assignee = Some(user);
            Ok(())
        })
    }

    fn resolve(&self, issue: Id<Issue>) -> Result<()> {
        self.edit(issue, |_, record| {
            record.open = false;
            Ok(())
        })
    }

    fn comment(&self, issue: Id<Issue>, author: Id<User>, text: &str) -> Result<Id<Comment>> {
        let comment = Json(CommentRecord { issue, author, text: text.to_owned() });
        self.store.write(|tx| self.comments.insert(tx, &comment))
    }

    /// Deletes a user without assigned open issues. Returns whether it did.
    fn remove_user(&self, user: Id<User>) -> Result<bool> {
        self.store.write(|tx| -> Result<_> {
            if self.issue_by_assignee.get_in(tx, user)?.is_some() {
                return Ok(false);
            }
            self.users.delete(tx, user)?;
            Ok(true)
        })
    }

    /// Open issues of a project, the last changed first.
    fn board(&self, view: &View, project: Id<Project>, most: usize) -> Result<Vec<String>> {
        let range = self.issue_by_change.prefix(view, &project)?;
        range.values(view).take(most).map(|found| found.map(|(_, issue)| issue.title.clone())).collect()
    }

    fn change(&self) -> u64 {
        self.store.last_seq().0 + 1
    }
}

/// A day in the life of a small project.
pub fn main() -> Result<()> {
    let directory = tempfile::tempdir().map_err(Error::bad_value::<()>)?;
    let path = directory.path().join("tracker.tenure");
    let tracker = Tracker::open(Store::open(&path)?)?;

    let (ada, grace) = (tracker.add_user("ada")?, tracker.add_user("grace")?);
    let compiler = tracker.add_project("COMP")?;
    // A login can be taken only once.
    assert!(matches!(tracker.add_user("ada"), Err(Error::UniqueViolation { .. })));

    // Four threads report issues; each gets its own number.
    thread::scope(|scope| {
        let reports: Vec<_> = (0..4)
            .map(|thread| {
                let tracker = &tracker;
                scope.spawn(move || {
                    (0..5).try_for_each(|n| {
                        tracker.report(compiler, ada, &format!("bug {thread}.{n}"), &["bug"]).map(drop)
                    })
                })
            })
            .collect();
        reports.into_iter().try_for_each(|report| report.join().expect("no panic"))
    })?;

    let view = tracker.store.view();
    let (seventh, _) = tracker.issue_by_number.fetch(&view, (compiler, 7))?.expect("twenty were reported");
    assert_eq!(tracker.issue_by_label.find(&view, "bug")?.left(), 20);

    tracker.assign(seventh, grace)?;
    tracker.comment(seventh, ada, "Can you have a look?")?;
    tracker.comment(seventh, grace, "It is the moth again.")?;
    assert!(!tracker.remove_user(grace)?, "an open issue is assigned to her");

    // The view still shows the state as of when it was taken.
    assert_eq!(view.fetch(seventh)?.assignee, None);
    let view = tracker.store.view();
    assert_eq!(tracker.board(&view, compiler, 1)?, [view.fetch(seventh)?.title.clone()]);

    tracker.resolve(seventh)?;
    assert!(tracker.remove_user(grace)?);
    drop(view);
    tracker.store.close()?;

    // Everything is back, and the stale reference is reported as such.
    let tracker = Tracker::open(Store::open(&path)?)?;
    let view = tracker.store.view();
    let (project, _) = tracker.project_by_key.fetch(&view, "COMP")?.expect("it was added");
    assert_eq!(tracker.board(&view, project, 100)?.len(), 19);
    assert_eq!(tracker.user_by_login.get(&view, "grace")?, None);
    let issue = view.fetch(seventh)?;
    for comment in tracker.comment_by_issue.find(&view, seventh)?.values(&view) {
        let (_, comment) = comment?;
        let author = match view.fetch(comment.author) {
            Ok(user) => user.login.clone(),
            Err(Error::Deleted { .. }) => "(left)".to_owned(),
            Err(error) => return Err(error),
        };
        println!("#{} {}: {author}: {}", issue.number, issue.title, comment.text);
    }
    assert_eq!(view.fetch(issue.reporter)?.login, "ada");
    drop(view);
    tracker.store.close()
}
