// The option table's building blocks. A Shape<T> knows everything about the values of one kind: how
// they are read and checked, shown, described in a schema and in the reference. A Section is the
// shape of a struct, made of declared options; the whole configuration is one Section (options.cc).
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/assert.h"
#include "base/result.h"
#include "config/internal/document.h"

namespace tidemark::config {

using Json = nlohmann::ordered_json;

// What a decoding run reads besides the tree, and what it leaves behind.
struct Context {
  std::filesystem::path base_dir;
  std::vector<Problem>& problems;
  std::map<std::string, Mark> marks;  // of every value that was given, by path

  void problem(Mark mark, std::string path, std::string text) {
    problems.push_back({mark, std::move(path), std::move(text)});
  }
  // "found X, expected Y"; nothing of a secret is repeated.
  void mismatch(const YamlNode& node, const std::string& path, std::string_view expected,
                bool secret = false);
};

// A row of the reference page.
struct Row {
  std::string name, type, fallback;
  bool fallback_is_value = false;
  std::string sentence, example;
};
// A table of the reference page: one section's options.
struct Table {
  std::string path, sentence;
  std::vector<Row> rows;
};

template <class T>
class Shape {
 public:
  virtual ~Shape() = default;
  // Reads `node`, which was given at `path`, into `out`; what is wrong goes to the context.
  virtual void decode(const YamlNode& node, const std::string& path, T& out,
                      Context& context) const = 0;
  virtual YamlNode show(const T& value) const = 0;
  // True for a value that stands for "not given", which is not shown.
  virtual bool empty(const T&) const { return false; }
  virtual Json schema() const = 0;
  // The kind of value in a few words, for the reference.
  virtual std::string label() const = 0;
  // Adds the tables of all sections within.
  virtual void tables(const std::string& /*path*/, const std::string& /*sentence*/,
                      std::vector<Table>& /*out*/) const {}
};
template <class T>
using ShapePtr = std::shared_ptr<const Shape<T>>;

// A value written as one piece of text.
template <class T>
struct ScalarSpec {
  std::string label;     // "duration"
  std::string expected;  // "a duration such as 15m, 2h or 7d"
  Json schema;
  // Nothing where the text is wrong; may then say more in `why`.
  std::function<std::optional<T>(const std::string& text, const Context&, std::string& why)> read;
  std::function<std::string(const T&)> write;
  std::function<bool(const T&)> empty;  // may be unset: never
};

template <class T>
class Scalar final : public Shape<T> {
 public:
  explicit Scalar(ScalarSpec<T> spec) : spec_(std::move(spec)) {}

  void decode(const YamlNode& node, const std::string& path, T& out,
              Context& context) const override {
    if (node.kind != YamlNode::Kind::scalar) return context.mismatch(node, path, spec_.expected);
    std::string why;
    std::optional<T> value;
    if (node.text.find("${") == std::string::npos)
      value = spec_.read(node.text, context, why);
    else
      why = "references to the environment stand for secrets only";
    if (value)
      out = std::move(*value);
    else
      context.mismatch(node, path, why.empty() ? spec_.expected : spec_.expected + ": " + why);
  }
  YamlNode show(const T& value) const override { return YamlNode::scalar(spec_.write(value)); }
  bool empty(const T& value) const override { return spec_.empty && spec_.empty(value); }
  Json schema() const override { return spec_.schema; }
  std::string label() const override { return spec_.label; }

 private:
  ScalarSpec<T> spec_;
};

template <class T>
class List final : public Shape<std::vector<T>> {
 public:
  List(ShapePtr<T> item, std::size_t size_min) : item_(std::move(item)), size_min_(size_min) {}

  void decode(const YamlNode& node, const std::string& path, std::vector<T>& out,
              Context& context) const override {
    if (node.kind != YamlNode::Kind::list || node.items.size() < size_min_)
      return context.mismatch(node, path, expected());
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      T item{};
      item_->decode(node.items[i], path + "[" + std::to_string(i) + "]", item, context);
      out.push_back(std::move(item));
    }
  }
  YamlNode show(const std::vector<T>& value) const override {
    YamlNode node = YamlNode::list();
    for (const T& item : value) node.items.push_back(item_->show(item));
    return node;
  }
  bool empty(const std::vector<T>& value) const override { return value.empty(); }
  Json schema() const override {
    Json out{{"type", "array"}, {"items", item_->schema()}};
    if (size_min_ > 0) out["minItems"] = size_min_;
    return out;
  }
  std::string label() const override { return "list of " + item_->label() + "s"; }

 private:
  std::string expected() const {
    return std::string("a list of ") + (size_min_ > 0 ? "one or more " : "") + item_->label() + "s";
  }
  ShapePtr<T> item_;
  std::size_t size_min_;
};

// Things with names that the user chooses.
template <class T>
class Map final : public Shape<std::map<std::string, T>> {
 public:
  using CheckKey = Status (*)(std::string_view key);
  Map(std::string key_name, CheckKey check_key, ShapePtr<T> value)
      : key_name_(std::move(key_name)), check_key_(check_key), value_(std::move(value)) {}

  void decode(const YamlNode& node, const std::string& path, std::map<std::string, T>& out,
              Context& context) const override {
    if (node.kind != YamlNode::Kind::map) return context.mismatch(node, path, "a " + label());
    for (const YamlEntry& entry : node.entries) {
      const std::string key_path = path + "." + entry.key;
      context.marks[key_path] = entry.mark;
      if (const auto usable = check_key_(entry.key); !usable)
        context.problem(entry.mark, key_path, usable.error().describe());
      value_->decode(entry.value, key_path, out[entry.key], context);
    }
  }
  YamlNode show(const std::map<std::string, T>& value) const override {
    YamlNode node = YamlNode::map();
    for (const auto& [key, item] : value) node.entries.push_back({key, {}, value_->show(item)});
    return node;
  }
  bool empty(const std::map<std::string, T>& value) const override { return value.empty(); }
  Json schema() const override {
    return {{"type", "object"}, {"additionalProperties", value_->schema()}};
  }
  std::string label() const override { return "map by " + key_name_; }
  void tables(const std::string& path, const std::string& sentence,
              std::vector<Table>& out) const override {
    value_->tables(path + ".<" + key_name_ + ">", sentence, out);
  }

 private:
  std::string key_name_;
  CheckKey check_key_;
  ShapePtr<T> value_;
};

template <class T>
ShapePtr<std::vector<T>> list_of(ShapePtr<T> item, std::size_t size_min = 0) {
  return std::make_shared<List<T>>(std::move(item), size_min);
}
template <class T>
ShapePtr<std::map<std::string, T>> map_of(std::string key_name,
                                          Status (*check_key)(std::string_view),
                                          ShapePtr<T> value) {
  return std::make_shared<Map<T>>(std::move(key_name), check_key, std::move(value));
}

// What is declared about an option besides its name and its kind of value.
struct About {
  std::string sentence;
  std::string fallback = {};  // the value of an option that is not given, as one would write it
  std::string derived = {};   // where the default is worked out from other options: how
  std::string example = {};   // as one would write it
  bool required = false;
};

// The text of a default as a node: "{}" or a scalar.
YamlNode literal(const std::string& text, Mark mark);
// The text of a default or an example as it stands in a schema.
Json literal_json(const std::string& text, const Json& schema);
// " (did you mean 'x'?)" where `key` is likely a slip of one of `known`, else empty.
std::string near_miss(const std::string& key, const std::vector<std::string>& known);

template <class S>
class Section final : public Shape<S> {
 public:
  // Declares an option that always has a value.
  template <class T>
  Section& add(std::string name, T S::*member, ShapePtr<T> shape, About about) {
    fields_.push_back(std::make_unique<Field<T>>(std::move(name), std::move(about), shape, member));
    return *this;
  }
  // Declares an option that may be absent.
  template <class T>
  Section& add(std::string name, std::optional<T> S::*member, ShapePtr<T> shape, About about) {
    fields_.push_back(
        std::make_unique<OptionalField<T>>(std::move(name), std::move(about), shape, member));
    return *this;
  }

  void decode(const YamlNode& node, const std::string& path, S& out,
              Context& context) const override {
    if (node.kind != YamlNode::Kind::map) return context.mismatch(node, path, "a map");
    for (const YamlEntry& entry : node.entries) check_known(entry, path, context);
    for (const auto& field : fields_) {
      const std::string field_path = path.empty() ? field->name : path + "." + field->name;
      const YamlNode* given = nullptr;
      for (const YamlEntry& entry : node.entries)
        if (entry.key == field->name) given = &entry.value;
      if (given != nullptr) {
        context.marks[field_path] = given->mark;
        field->decode(*given, field_path, out, context);
      } else if (field->about.required) {
        context.problem(node.mark, field_path, "missing: " + field->about.sentence);
      } else {
        field->decode_absent(node.mark, field_path, out, context);
      }
    }
  }
  YamlNode show(const S& value) const override {
    YamlNode node = YamlNode::map();
    for (const auto& field : fields_)
      if (auto shown = field->show(value))
        node.entries.push_back({field->name, {}, std::move(*shown)});
    return node;
  }
  bool empty(const S& value) const override { return show(value).entries.empty(); }
  Json schema() const override {
    Json properties = Json::object(), required = Json::array();
    for (const auto& field : fields_) {
      Json property = field->schema();
      const About& about = field->about;
      property["description"] = about.sentence;
      if (!about.fallback.empty()) property["default"] = literal_json(about.fallback, property);
      if (!about.example.empty())
        property["examples"] = Json::array({literal_json(about.example, property)});
      properties[field->name] = std::move(property);
      if (about.required) required.push_back(field->name);
    }
    Json out{{"type", "object"}, {"additionalProperties", false}, {"properties", properties}};
    if (!required.empty()) out["required"] = required;
    return out;
  }
  std::string label() const override { return "map"; }
  void tables(const std::string& path, const std::string& sentence,
              std::vector<Table>& out) const override {
    Table table{path, sentence, {}};
    for (const auto& field : fields_) {
      const About& about = field->about;
      const std::string fallback = about.required           ? "required"
                                   : about.fallback.empty() ? about.derived
                                                            : about.fallback;
      table.rows.push_back({field->name, field->label(), fallback, !about.fallback.empty(),
                            about.sentence, about.example});
    }
    out.push_back(std::move(table));
    for (const auto& field : fields_)
      field->tables(path.empty() ? field->name : path + "." + field->name, out);
  }

 private:
  struct FieldBase {
    FieldBase(std::string n, About a) : name(std::move(n)), about(std::move(a)) {}
    virtual ~FieldBase() = default;
    virtual void decode(const YamlNode&, const std::string& path, S&, Context&) const = 0;
    virtual void decode_absent(Mark, const std::string& path, S&, Context&) const = 0;
    virtual std::optional<YamlNode> show(const S&) const = 0;
    virtual Json schema() const = 0;
    virtual std::string label() const = 0;
    virtual void tables(const std::string& path, std::vector<Table>& out) const = 0;

    const std::string name;
    const About about;
  };

  template <class T>
  struct FieldWithShape : FieldBase {
    FieldWithShape(std::string n, About a, ShapePtr<T> s)
        : FieldBase(std::move(n), std::move(a)), shape(std::move(s)) {}
    Json schema() const override { return shape->schema(); }
    std::string label() const override { return shape->label(); }
    void tables(const std::string& path, std::vector<Table>& out) const override {
      shape->tables(path, this->about.sentence, out);
    }
    ShapePtr<T> shape;
  };

  template <class T>
  struct Field final : FieldWithShape<T> {
    Field(std::string n, About a, ShapePtr<T> s, T S::*m)
        : FieldWithShape<T>(std::move(n), std::move(a), std::move(s)), member(m) {}
    void decode(const YamlNode& node, const std::string& path, S& out, Context& c) const override {
      this->shape->decode(node, path, out.*member, c);
    }
    void decode_absent(Mark mark, const std::string& path, S& out, Context& c) const override {
      if (!this->about.fallback.empty())
        this->shape->decode(literal(this->about.fallback, mark), path, out.*member, c);
    }
    std::optional<YamlNode> show(const S& value) const override {
      if (this->shape->empty(value.*member)) return std::nullopt;
      return this->shape->show(value.*member);
    }
    T S::*member;
  };

  template <class T>
  struct OptionalField final : FieldWithShape<T> {
    OptionalField(std::string n, About a, ShapePtr<T> s, std::optional<T> S::*m)
        : FieldWithShape<T>(std::move(n), std::move(a), std::move(s)), member(m) {
      TM_CHECK(this->about.fallback.empty() && !this->about.required);
    }
    void decode(const YamlNode& node, const std::string& path, S& out, Context& c) const override {
      this->shape->decode(node, path, (out.*member).emplace(), c);
    }
    void decode_absent(Mark, const std::string&, S&, Context&) const override {}
    std::optional<YamlNode> show(const S& value) const override {
      if (!(value.*member)) return std::nullopt;
      return this->shape->show(*(value.*member));
    }
    std::optional<T> S::*member;
  };

  void check_known(const YamlEntry& entry, const std::string& path, Context& context) const {
    std::vector<std::string> names;
    for (const auto& field : fields_) {
      if (field->name == entry.key) return;
      names.push_back(field->name);
    }
    std::string text = "unknown key, expected one of ";
    for (std::size_t i = 0; i < names.size(); ++i) text += (i > 0 ? ", " : "") + names[i];
    text += near_miss(entry.key, names);
    context.problem(entry.mark, path.empty() ? entry.key : path + "." + entry.key, text);
  }

  std::vector<std::unique_ptr<FieldBase>> fields_;
};

}  // namespace tidemark::config
