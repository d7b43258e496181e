#include "orchestrator/library/json_tree.h"

#include <nlohmann/json.hpp>

#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using Json = nlohmann::ordered_json;
using Kind = JsonTree::Kind;

constexpr int maxDepth = 64;
constexpr size_t maxBytes = size_t{16} << 20, maxShown = 40;

Error invalid(const std::string& what) {
  return Error(ExitCode::infrastructure, "json-invalid", what);
}

JsonTree treeOf(const Json& json) {
  switch (json.type()) {
    case Json::value_t::boolean:
      return {Kind::boolean, json.get<bool>()};
    case Json::value_t::number_integer:
      return {Kind::negative, static_cast<uint64_t>(json.get<int64_t>())};
    case Json::value_t::number_unsigned:
      return {Kind::whole, json.get<uint64_t>()};
    case Json::value_t::number_float:
      return {Kind::real, 0, json.get<double>()};
    case Json::value_t::string:
      return {Kind::text, 0, 0, json.get<std::string>()};
    case Json::value_t::array: {
      JsonTree list{Kind::list};
      for (const auto& element : json) list.members.emplace_back("", treeOf(element));
      return list;
    }
    case Json::value_t::object: {
      JsonTree object{Kind::object};
      for (const auto& member : json.items())
        object.members.emplace_back(member.key(), treeOf(member.value()));
      return object;
    }
    default:
      return {};
  }
}

}  // namespace

JsonTree JsonTree::parse(std::string_view json) {
  if (json.size() > maxBytes)
    throw invalid(ktstr::text(json.size(), " bytes, at most ", maxBytes, " are read"));
  const auto bound = [](int depth, Json::parse_event_t, Json&) {
    if (depth > maxDepth) throw invalid(ktstr::text("nested deeper than ", maxDepth));
    return true;
  };
  try {
    return treeOf(Json::parse(json.begin(), json.end(), bound));
  } catch (const Json::exception& exception) {
    throw invalid(exception.what());
  }
}

const JsonTree* JsonTree::find(std::string_view name) const {
  if (kind != Kind::object) return nullptr;
  for (const auto& member : members) {
    if (member.first == name) return &member.second;
  }
  return nullptr;
}

std::string JsonTree::describe() const {
  switch (kind) {
    case Kind::null:
      return "null";
    case Kind::boolean:
      return number != 0 ? "true" : "false";
    case Kind::negative:
      return ktstr::text("the number ", static_cast<int64_t>(number));
    case Kind::whole:
      return ktstr::text("the number ", number);
    case Kind::real:
      return ktstr::text("the number ", fraction);
    case Kind::text:
      return ktstr::text("the text \"", text.substr(0, maxShown), text.size() > maxShown ? "...\"" : "\"");
    case Kind::list:
      return ktstr::text("a list of ", members.size());
    default:
      return "an object";
  }
}

}  // namespace ktstr
