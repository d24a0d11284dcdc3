// Shell completion, made from the commands themselves.
#include "agent/cli/command.h"

namespace tidemark {
namespace {

void names_of(const CLI::App& app, std::string& words) {
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    words += " " + sub->get_name();
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) words += " --" + name;
}

// "path of commands) words" cases for a shell's case statement.
void cases_of(const CLI::App& app, const std::string& path, std::string& out) {
  std::string words;
  names_of(app, words);
  out += "    '" + path + "') words='" + words + "' ;;\n";
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    cases_of(*sub, path.empty() ? sub->get_name() : path + " " + sub->get_name(), out);
}

std::string bash_script(const CLI::App& app) {
  std::string cases;
  cases_of(app, "", cases);
  return "_tidemark() {\n"
         "  local word path='' words='' i\n"
         "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "    word=${COMP_WORDS[i]}\n"
         "    case $word in -*) ;; *) path=\"${path:+$path }$word\" ;; esac\n"
         "  done\n"
         "  case $path in\n" +
         cases +
         "    *) words=${_tidemark_last_words} ;;\n"
         "  esac\n"
         "  _tidemark_last_words=$words\n"
         "  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
         "}\n"
         "complete -o default -F _tidemark tidemark\n";
}

}  // namespace

void add_completion_command(CLI::App& app, Command& command) {
  auto* completion =
      app.add_subcommand("completion", "A script that completes commands and options");
  auto shell = std::make_shared<std::string>();
  completion->add_option("SHELL", *shell, "bash or zsh")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh"}));
  completion->callback([&app, &command, shell] {
    command.action = [&app, shell]() -> Result<int> {
      // zsh runs bash's completions through its own bridge.
      if (*shell == "zsh") std::puts("autoload -U +X bashcompinit && bashcompinit");
      std::fputs(bash_script(app).c_str(), stdout);
      return kExitDone;
    };
  });
}

}  // namespace tidemark
