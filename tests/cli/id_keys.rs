//! Keys that are record IDs: shown and looked up as IDs, whether a line or the code of a program declares them.

use serde::{Deserialize, Serialize};
use serde_json::json;
use tenure::Store;
use tenure::typed::{Id, IndexDefinition, Json, SetDefinition};

use crate::support::tenure;

#[derive(Serialize, Deserialize)]
struct Person {
    name: String,
}

#[derive(Serialize, Deserialize)]
struct Post {
    author: Id<Json<Person>>,
    year: u16,
}

type Author = Id<Json<Person>>;

const PEOPLE: SetDefinition<Json<Person>> = SetDefinition::new("people");
const POSTS: SetDefinition<Json<Post>> = SetDefinition::new("posts");
const BY_AUTHOR: IndexDefinition<Json<Post>, Author> = IndexDefinition::new("author", 1, |post, put| put(post.author));
const BY_LINE: IndexDefinition<Json<Post>, Author> = IndexDefinition::from_line("line", "json:/author:id");
const BY_YEAR: IndexDefinition<Json<Post>, (Author, u16)> =
    IndexDefinition::new("author and year", 1, |post, put| put((post.author, post.year)));

#[test]
fn keys_of_typed_ids_are_ids_on_the_command_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s.tenure");
    let store = Store::open(&path).expect("opens");
    let (people, posts) = (store.typed_set(PEOPLE).expect("a set"), store.typed_set(POSTS).expect("a set"));
    store.typed_index(&posts, BY_AUTHOR).expect("an index");
    let by_line = store.typed_index(&posts, BY_LINE).expect("an index");
    store.typed_index(&posts, BY_YEAR).expect("an index");
    let names = ["Ada", "Bob"].map(|name| Json(Person { name: name.to_owned() }));
    let authors = store.write(|tx| people.insert_many(tx, &names)).expect("inserts");
    let (ada, bob) = (authors[0], authors[1]);
    let post = |author, year| Json(Post { author, year });
    let all = [post(ada, 1843), post(ada, 1842), post(bob, 1999)];
    let ids = store.write(|tx| posts.insert_many(tx, &all)).expect("inserts");
    assert_eq!(by_line.get(&store.view(), bob).expect("reads"), Some(ids[2]));
    store.close().expect("closes");
    let (path, ada, bob) = (path.display().to_string(), ada.to_string(), bob.to_string());
    let found = |index: &str, more: &[&str]| -> Vec<String> {
        let text = tenure(&[&["find", &path, index, "--ids-only"], more].concat()).ok();
        text.lines().map(str::to_owned).collect()
    };
    let [first, second, third] = [0, 1, 2].map(|at: usize| ids[at].to_string());
    for index in ["posts.author", "posts.line"] {
        assert_eq!(found(index, &[&ada]), [first.as_str(), &second]);
        assert_eq!(found(index, &["--from", &bob]), [third.as_str()]);
        let lines = tenure(&["find", &path, index, &bob, "--json"]).json_lines();
        assert_eq!(lines.iter().map(|line| &line["key"]).collect::<Vec<_>>(), [&json!(bob)], "{index}");
        let none = tenure(&["find", &path, index, "77.3"]);
        assert_eq!(none.code, 3);
        assert!(none.err.contains("77.3"), "{}", none.err);
    }
    let both = "posts.author and year";
    assert_eq!(found(both, &[&format!("{ada}, 1842")]), [second.as_str()]);
    assert_eq!(found(both, &["--prefix", &ada]), [second.as_str(), &first]);
    let lines = tenure(&["find", &path, both, "--json", "--limit", "1"]).json_lines();
    assert_eq!(lines[0]["key"], json!(format!("{ada}, 1842")));
    // The command line keeps the index of the line, and says why it cannot keep those of the program.
    let refused = tenure(&["put", &path, "posts", "{}"]);
    assert_ne!(refused.code, 0);
}
