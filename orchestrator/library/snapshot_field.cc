#include "orchestrator/library/snapshot_field.h"

#include <charconv>
#include <limits>
#include <vector>

#include "orchestrator/library/listed.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using Kind = JsonTree::Kind;

[[noreturn]] void fail(const char* name, const std::string& message, const std::string& hint = {}) {
  throw Error(ExitCode::usage, name, message, hint);
}

template <typename T>
bool parseWhole(std::string_view digits, T& value, int base = 10) {
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  return error == std::errc() && end == digits.data() + digits.size() && !digits.empty();
}

// "a.b[3].c" as a, b, [3, c.
std::vector<std::string> componentsOf(std::string_view path) {
  std::vector<std::string> components;
  if (!path.starts_with('[')) components.emplace_back();
  for (const char c : path) {
    if (c == '[') components.emplace_back("[");
    if (c == '.') components.emplace_back();
    if (c != '[' && c != '.' && c != ']') components.back() += c;
  }
  return components;
}

// The address of a pointer as it is rendered: "0xffffffff81000000 init_task".
bool parseAddress(const std::string& text, uint64_t& value) {
  return text.starts_with("0x") &&
         parseWhole(std::string_view(text).substr(2, text.find(' ') - 2), value, 16);
}

}  // namespace

SnapshotField SnapshotField::parse(std::string path, std::string_view json) {
  return {std::move(path), std::make_shared<const JsonTree>(JsonTree::parse(json))};
}

SnapshotField SnapshotField::get(std::string_view path) const {
  SnapshotField at = *this;
  if (path.empty()) return at;
  for (const std::string& component : componentsOf(path)) {
    at.requireRendered();
    at = at.step(component, path);
  }
  return at;
}

SnapshotField SnapshotField::step(const std::string& component, std::string_view asked) const {
  if (component.empty() || component == "[")
    fail("empty-path-component", text("the path \"", asked, "\" has an empty part"), "as in a.b[3].c");
  return component[0] == '[' ? element(component.substr(1), asked) : member(component, asked);
}

SnapshotField SnapshotField::member(const std::string& name, std::string_view asked) const {
  if (tree_->kind != Kind::object) {
    fail("not-a-struct",
         text("\"", asked, "\" leads to \"", name, "\" of ", path_, ", which is ", tree_->describe()));
  }
  if (const JsonTree* found = tree_->find(name))
    return {path_ + "." + name, std::shared_ptr<const JsonTree>(tree_, found)};
  std::vector<std::string> names;
  for (const auto& member : tree_->members) names.push_back(member.first);
  fail("field-not-found", text("\"", asked, "\": ", path_, " has no member \"", name, '"'), listed(names));
}

SnapshotField SnapshotField::element(const std::string& index, std::string_view asked) const {
  size_t number = 0;
  if (tree_->kind != Kind::list) {
    fail("not-a-struct",
         text("\"", asked, "\" leads to element ", index, " of ", path_, ", which is ", tree_->describe()));
  }
  if (!parseWhole(index, number) || number >= tree_->members.size()) {
    fail("index-out-of-range", text("\"", asked, "\": ", path_, " has no element ", index),
         text("it has ", tree_->members.size()));
  }
  return {text(path_, '[', number, ']'),
          std::shared_ptr<const JsonTree>(tree_, &tree_->members[number].second)};
}

void SnapshotField::requireRendered() const {
  const JsonTree* const why = tree_->members.size() == 1 ? tree_->find("absent") : nullptr;
  if (why != nullptr && why->kind == Kind::text)
    throw Error(ExitCode::inconclusive, "not-rendered", text(path_, " could not be read: ", why->text));
}

void SnapshotField::mismatch(const char* wanted) const {
  requireRendered();
  std::vector<std::string> names;
  for (const auto& member : tree_->members) names.push_back(member.first);
  fail("type-mismatch", text(path_, " is ", tree_->describe(), ", not ", wanted),
       tree_->kind == Kind::object ? listed(names) : "");
}

uint64_t SnapshotField::asU64() const {
  uint64_t address = 0;
  if (tree_->kind == Kind::whole || tree_->kind == Kind::boolean) return tree_->number;
  if (tree_->kind == Kind::null) return 0;  // a null pointer
  const JsonTree* const followed = tree_->find("@");
  const JsonTree& pointer = followed != nullptr ? *followed : *tree_;
  if (pointer.kind == Kind::text && parseAddress(pointer.text, address)) return address;
  mismatch("a number from 0");
}

int64_t SnapshotField::asI64() const {
  if (tree_->kind == Kind::negative) return static_cast<int64_t>(tree_->number);
  if (tree_->kind == Kind::whole && tree_->number <= std::numeric_limits<int64_t>::max())
    return static_cast<int64_t>(tree_->number);
  mismatch("a number of 64 bits with a sign");
}

bool SnapshotField::asBool() const {
  if (tree_->kind == Kind::boolean || (tree_->kind == Kind::whole && tree_->number <= 1))
    return tree_->number != 0;
  mismatch("true or false");
}

double SnapshotField::asF64() const {
  switch (tree_->kind) {
    case Kind::negative:
      return static_cast<double>(static_cast<int64_t>(tree_->number));
    case Kind::whole:
      return static_cast<double>(tree_->number);
    case Kind::real:
      return tree_->fraction;
    default:
      mismatch("a number");
  }
}

std::string SnapshotField::asStr() const {
  if (tree_->kind == Kind::text) return tree_->text;
  mismatch("text");
}

}  // namespace ktstr
