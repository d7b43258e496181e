#include "protocol/json.h"

#include <kj/encoding.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "protocol/error.h"
#include "protocol/json_string.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using Json = nlohmann::ordered_json;
using capnp::schema::Type;

constexpr int maximumDepth = 64;
constexpr size_t maximumInput = size_t{16} << 20;

std::string dump(const Json& json, bool pretty) {
  return json.dump(pretty ? 2 : -1, ' ', false, Json::error_handler_t::replace);
}

std::string_view view(capnp::Text::Reader value) {
  return {value.begin(), value.size()};
}

bool inUnion(const capnp::StructSchema::Field& field) {
  return field.getProto().getDiscriminantValue() != capnp::schema::Field::NO_DISCRIMINANT;
}

// ---- encoding
// ----------------------------------------------------------------------------------------------

Json encodeStruct(capnp::DynamicStruct::Reader message, bool full, int depth);

// Null stands for "no value": Void, a float that is not finite, a capability.
Json encodeValue(const capnp::DynamicValue::Reader& value, bool full, int depth) {
  using capnp::DynamicValue;
  switch (value.getType()) {
    case DynamicValue::BOOL:
      return value.as<bool>();
    case DynamicValue::INT:
      return value.as<int64_t>();
    case DynamicValue::UINT:
      return value.as<uint64_t>();
    case DynamicValue::FLOAT: {
      const auto number = value.as<double>();
      return std::isfinite(number) ? Json(number) : Json();
    }
    case DynamicValue::TEXT:
      return view(value.as<capnp::Text>());
    case DynamicValue::DATA:
      return kj::encodeBase64(value.as<capnp::Data>()).cStr();
    case DynamicValue::LIST: {
      Json list = Json::array();
      for (const auto& element : value.as<capnp::DynamicList>()) {
        list.push_back(encodeValue(element, full, depth + 1));
      }
      return list;
    }
    case DynamicValue::ENUM: {
      const auto number = value.as<capnp::DynamicEnum>();
      KJ_IF_MAYBE (enumerant, number.getEnumerant()) {
        return view(enumerant->getProto().getName());
      }
      return number.getRaw();  // of a newer schema
    }
    case DynamicValue::STRUCT:
      return encodeStruct(value.as<capnp::DynamicStruct>(), full, depth + 1);
    default:
      return nullptr;
  }
}

std::vector<capnp::StructSchema::Field> presentFields(const capnp::DynamicStruct::Reader& message) {
  std::vector<capnp::StructSchema::Field> fields;
  const auto always = message.getSchema().getNonUnionFields();
  for (const auto field : always) fields.push_back(field);
  const auto which = message.which();
  KJ_IF_MAYBE (member, which) {
    fields.push_back(*member);
  }
  std::sort(fields.begin(), fields.end(),
            [](auto& a, auto& b) { return a.getProto().getCodeOrder() < b.getProto().getCodeOrder(); });
  return fields;
}

Json encodeStruct(capnp::DynamicStruct::Reader message, bool full, int depth) {
  if (depth > maximumDepth) throw Error(ExitCode::infrastructure, "message-invalid", "nested deeper than 64");
  Json object = Json::object();
  for (const auto& field : presentFields(message)) {
    const auto proto = field.getProto();
    if (field.getType().isInterface() || field.getType().isAnyPointer()) continue;
    const bool always = full || (inUnion(field) && proto.getDiscriminantValue() != 0);
    if (!always && !message.has(field)) continue;
    Json value = encodeValue(message.get(field), full, depth);
    const bool empty = value.is_null() || (value.is_string() && value.get_ref<std::string&>().empty()) ||
                       (value.is_array() && value.empty()) || (proto.isGroup() && value.empty());
    if (always || !empty) object[proto.getName().cStr()] = std::move(value);
  }
  return object;
}

// ---- decoding
// ----------------------------------------------------------------------------------------------

// Where we are: a chain of fields and indices on the stack, written out only for an error.
struct Place {
  const Place* parent = nullptr;
  std::string_view field = {};
  size_t index = 0;

  std::string toString() const {
    if (parent == nullptr) return {};
    const std::string before = parent->toString();
    if (field.empty()) return text(before, '[', index, ']');
    return before.empty() ? std::string(field) : text(before, '.', field);
  }
};

Error invalid(const std::string& place, const std::string& what, std::string hint = {}) {
  return Error(ExitCode::usage, "json-invalid", place.empty() ? what : place + ": " + what, std::move(hint));
}

Error unexpected(const Place& place, const std::string& wanted, const Json& got, std::string hint = {}) {
  std::string shown = got.is_structured() ? (got.is_array() ? "a list" : "an object") : dump(got, false);
  if (shown.size() > 60) shown = shown.substr(0, 57) + "...";
  return invalid(place.toString(), text("expected ", wanted, ", got ", shown), std::move(hint));
}

size_t editDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

// "did you mean "steps"? known: name, steps": from any list of schema members.
template <typename Members>
std::string nameHint(std::string_view wrong, const Members& members) {
  std::string known, nearest;
  size_t best = wrong.size() / 3 + 1;  // further away it is no typing error
  for (const auto member : members) {
    const std::string_view name = view(member.getProto().getName());
    known += text(known.empty() ? "" : ", ", name);
    const size_t distance = wrong.size() > 64 ? best + 1 : editDistance(wrong, name);
    if (distance > best || (distance == best && !nearest.empty())) continue;
    best = distance;
    nearest = name;
  }
  return text(nearest.empty() ? "" : "did you mean \"" + nearest + "\"? ", "known: ", known);
}

struct Range {
  int64_t minimum;
  uint64_t maximum;
};

template <typename Integer>
constexpr Range rangeOf() {
  using Limits = std::numeric_limits<Integer>;
  return {static_cast<int64_t>(std::is_signed_v<Integer> ? Limits::min() : 0),
          static_cast<uint64_t>(Limits::max())};
}

Range rangeOf(Type::Which type) {
  switch (type) {
    case Type::INT8:
      return rangeOf<int8_t>();
    case Type::INT16:
      return rangeOf<int16_t>();
    case Type::INT32:
      return rangeOf<int32_t>();
    case Type::INT64:
      return rangeOf<int64_t>();
    case Type::UINT8:
      return rangeOf<uint8_t>();
    case Type::UINT16:
      return rangeOf<uint16_t>();
    case Type::UINT32:
      return rangeOf<uint32_t>();
    default:
      return rangeOf<uint64_t>();
  }
}

capnp::DynamicValue::Reader decodeInteger(const Json& json, Type::Which type, const Place& place) {
  const Range range = rangeOf(type);
  Json integer = json;
  if (json.is_number_float()) {  // "1e6" is one, too
    const auto number = json.get<double>();
    if (std::trunc(number) == number && std::abs(number) <= 0x1p53) integer = static_cast<int64_t>(number);
  }
  const bool negative =
      integer.is_number_integer() && !integer.is_number_unsigned() && integer.get<int64_t>() < 0;
  const bool fits = integer.is_number_integer() && (negative ? integer.get<int64_t>() >= range.minimum
                                                             : integer.get<uint64_t>() <= range.maximum);
  if (!fits) throw unexpected(place, text("a number from ", range.minimum, " to ", range.maximum), json);
  if (negative) return integer.get<int64_t>();
  return integer.get<uint64_t>();
}

double decodeFloat(const Json& json, Type::Which type, const Place& place) {
  if (json.is_null()) return std::numeric_limits<double>::quiet_NaN();
  const double number = json.is_number() ? json.get<double>() : HUGE_VAL;
  const double limit =
      type == Type::FLOAT32 ? std::numeric_limits<float>::max() : std::numeric_limits<double>::max();
  if (std::abs(number) > limit) throw unexpected(place, "a number", json);
  return number;
}

kj::ArrayPtr<const char> decodeText(const Json& json, const Place& place) {
  if (!json.is_string()) throw unexpected(place, "text", json);
  const auto& value = json.get_ref<const std::string&>();
  if (value.find('\0') != std::string::npos) throw unexpected(place, "text without NUL", json);
  return {value.data(), value.size()};
}

kj::Array<kj::byte> decodeData(const Json& json, const Place& place) {
  auto bytes = kj::decodeBase64(decodeText(json, place));
  if (bytes.hadErrors) throw unexpected(place, "base64", json);
  return kj::mv(bytes);
}

capnp::DynamicEnum decodeEnum(const Json& json, capnp::EnumSchema schema, const Place& place) {
  const std::string name = json.is_string() ? json.get<std::string>() : "";
  for (const auto enumerant : schema.getEnumerants()) {
    if (view(enumerant.getProto().getName()) == name) return enumerant;
  }
  throw unexpected(place, "a name", json, nameHint(name, schema.getEnumerants()));
}

void decodeStruct(const Json& json, capnp::DynamicStruct::Builder message, const Place& place);
void decodeList(const Json& json, capnp::DynamicList::Builder list, const Place& place);

const Json& checkedList(const Json& json, const Place& place) {
  if (!json.is_array()) throw unexpected(place, "a list", json);
  return json;
}

// Stores one value through set(value), or into init(size) for what lies behind a pointer of its own.
template <typename Set, typename InitStruct, typename InitList>
void decodeValue(const Json& json, capnp::Type type, const Place& place, Set set, InitStruct initStruct,
                 InitList initList) {
  switch (type.which()) {
    case Type::VOID:
      if (!json.is_null()) throw unexpected(place, "null", json);
      return set(capnp::VOID);
    case Type::BOOL:
      if (!json.is_boolean()) throw unexpected(place, "true or false", json);
      return set(json.get<bool>());
    case Type::FLOAT32:
    case Type::FLOAT64:
      return set(decodeFloat(json, type.which(), place));
    case Type::TEXT: {
      const auto value = decodeText(json, place);
      return set(capnp::Text::Reader(value.begin(), value.size()));
    }
    case Type::DATA: {
      const auto value = decodeData(json, place);
      return set(capnp::Data::Reader(value));
    }
    case Type::ENUM:
      return set(decodeEnum(json, type.asEnum(), place));
    case Type::STRUCT:
      return decodeStruct(json, initStruct(), place);
    case Type::LIST:
      return decodeList(json, initList(static_cast<unsigned>(checkedList(json, place).size())), place);
    case Type::INTERFACE:
    case Type::ANY_POINTER:
      throw invalid(place.toString(), "a capability, which cannot be written in JSON");
    default:
      return set(decodeInteger(json, type.which(), place));
  }
}

void decodeList(const Json& json, capnp::DynamicList::Builder list, const Place& place) {
  const auto type = list.getSchema().getElementType();
  for (unsigned i = 0; i < list.size(); ++i) {
    decodeValue(
        json[i], type, Place{&place, {}, i},
        [&](const capnp::DynamicValue::Reader& value) { list.set(i, value); },
        [&] { return list[i].as<capnp::DynamicStruct>(); },
        [&](unsigned size) { return list.init(i, size).as<capnp::DynamicList>(); });
  }
}

void decodeStruct(const Json& json, capnp::DynamicStruct::Builder message, const Place& place) {
  if (!json.is_object()) throw unexpected(place, "an object", json);
  const auto schema = message.getSchema();
  std::string member;  // of the union, already seen
  for (const auto& [name, value] : json.items()) {
    const auto found = schema.findFieldByName(name);
    KJ_IF_MAYBE (field, found) {
      if (inUnion(*field)) {
        if (!member.empty()) {
          throw invalid(place.toString(), text("both \"", member, "\" and \"", name, "\" given"),
                        "these exclude each other: give one");
        }
        member = name;
      }
      decodeValue(
          value, field->getType(), Place{&place, name},
          [&](const capnp::DynamicValue::Reader& decoded) { message.set(*field, decoded); },
          [&] { return message.init(*field).as<capnp::DynamicStruct>(); },
          [&](unsigned size) { return message.init(*field, size).as<capnp::DynamicList>(); });
    } else {
      throw invalid(place.toString(), text("unknown field ", jsonString(name)),
                    nameHint(name, schema.getFields()));
    }
  }
}

// Follows the parser to refuse what it would let pass: a field given twice, deep nesting.
class Watch {
 public:
  bool operator()(int, Json::parse_event_t event, const Json& parsed) {
    using Event = Json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      if (frames_.size() == maximumDepth) throw invalid(place(), text("nested deeper than ", maximumDepth));
      frames_.emplace_back();
    } else if (event == Event::key) {
      Frame& frame = frames_.back();
      frame.key = parsed.get<std::string>();
      if (!frame.seen.insert(frame.key).second) throw invalid(place(), "given twice");
    } else {
      if (event != Event::value) frames_.pop_back();
      if (!frames_.empty()) ++frames_.back().index;
    }
    return true;
  }

 private:
  struct Frame {
    std::set<std::string> seen;
    std::string key;
    size_t index = 0;
  };

  std::string place() const {
    std::string result;
    for (const auto& frame : frames_) {
      result += frame.seen.empty() ? text('[', frame.index, ']') : text(result.empty() ? "" : ".", frame.key);
    }
    return result;
  }

  std::vector<Frame> frames_;
};

Json parse(std::string_view json) {
  if (json.size() > maximumInput) {
    throw invalid({}, text(json.size(), " bytes, at most ", maximumInput, " are read"));
  }
  try {
    Watch watch;
    return Json::parse(json.begin(), json.end(), std::ref(watch));
  } catch (const Json::exception& exception) {
    const std::string_view what = exception.what();  // "[json.exception.parse_error.101] parse error at ..."
    const size_t prefix = what.find("] ");
    throw invalid({}, std::string(prefix == std::string_view::npos ? what : what.substr(prefix + 2)));
  }
}

}  // namespace

std::string toJson(capnp::DynamicStruct::Reader message, JsonStyle style) {
  try {
    return dump(encodeStruct(message, style.full, 0), style.pretty);
  } catch (const kj::Exception& exception) {
    throw Error(ExitCode::infrastructure, "message-invalid", exception.getDescription().cStr());
  }
}

void fromJson(std::string_view json, capnp::DynamicStruct::Builder message) {
  decodeStruct(parse(json), message, Place{});
}

}  // namespace ktstr
