"""Tables that map names of files, programs and tools to the kind of text they hold or print."""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal[
    "blame", "code", "config", "diff", "log", "test_run", "search", "listing", "table", "json",
    "html", "markdown", "prose", "report", "error", "state", "rules", "other",
]  # fmt: skip

_CODE = (
    "py pyi pyx pxd rb rs go c h cc cpp cxx hpp hh hxx m mm java kt kts scala sc clj cljs cljc edn "
    "ex exs erl hrl hs lhs ml mli fs fsx fsi swift dart js jsx mjs cjs ts tsx mts cts vue svelte "
    "astro php phtml pl pm t lua r jl nim zig v sv vhd vhdl cs vb pas d el lisp scm rkt tcl sh "
    "bash "
    "zsh fish ps1 psm1 bat cmd awk groovy gradle sol move cairo asm s wat cu cuh glsl hlsl wgsl "
    "metal proto thrift graphql gql ipynb css scss sass less styl erb ejs hbs mustache jinja j2 "
    "njk pug tmpl tpl html htm xhtml mk cmake bzl star lark nix rego dhall cue sql psql ddl prisma "
    "y yy l vim f for ftn f77 f90 f95 f03 f08 cbl cob cpy adb ads ada elm purs idr agda gd cr hx "
    "pp lpr dpr abap cls trigger nf wdl cwl smk sas raku p6 pl6 sml fut odin jai gleam roc "
    "res resi re rei coffee litcoffee ino pde as vala bas vbs ahk au3 applescript mo qml csx "
    "cshtml razor aspx ascx jsp jspx ftl vm twig liquid haml slim eex heex leex robot feature "
    "capnp fbs smithy tsp cypher sparql rq pks pkb plsql hql kql m4 ac am inc inl ipp tcc mak "
    "ebuild shader frag vert geom comp metal hack dot mmd puml ld lds pro dts dtsi"
)
_CONFIG = (
    "yaml yml toml ini cfg conf cnf properties env tf tfvars hcl nomad plist xml xsd xsl xslt svg "
    "service timer socket target desktop rules reg lock editorconfig gitignore gitattributes "
    "dockerignore npmrc nvmrc babelrc eslintrc prettierrc jsonc json5 pom csproj fsproj sln "
    "vcxproj props targets ron kdl neon po pot strings resx htaccess sum mod work cabal gemspec "
    "avsc avdl raml xcconfig pbxproj entitlements storyboard xib ui qrc bb bbappend spec podspec "
    "kubeconfig network netdev mount path slice rc"
)
_OTHER: dict[str, Kind] = {
    "log": "log", "out": "log", "err": "log", "md": "markdown", "mdx": "markdown",
    "rst": "markdown",
    "adoc": "markdown", "markdown": "markdown", "json": "json", "ndjson": "json", "jsonl": "json",
    "geojson": "json", "har": "json", "csv": "table", "tsv": "table",
    "diff": "diff", "patch": "diff", "tex": "markdown", "org": "markdown", "srt": "other",
    "vtt": "other",
}  # fmt: skip
_EXTENSIONS: dict[str, Kind] = {
    **dict.fromkeys(_CODE.split(), "code"),
    **dict.fromkeys(_CONFIG.split(), "config"),
    **_OTHER,
}
_CONFIG_FILES = (
    "makefile gnumakefile dockerfile containerfile vagrantfile jenkinsfile procfile gemfile "
    "rakefile brewfile justfile cmakelists.txt requirements.txt constraints.txt go.mod "
    "package.json package-lock.json tsconfig.json composer.json deno.json jsconfig.json "
    "manifest.json settings.json launch.json tasks.json turbo.json nx.json lerna.json "
    "angular.json appsettings.json .eslintrc.json .prettierrc.json .babelrc vercel.json "
    "firebase.json pyrightconfig.json renovate.json codeowners passwd group fstab hosts "
    "sudoers crontab services resolv.conf pipfile build workspace robots.txt .env .bashrc "
    ".profile .zshrc .gitconfig .vimrc sshd_config nsswitch.conf shells protocols caddyfile "
    "tiltfile earthfile snakefile podfile fastfile appfile dangerfile pkgbuild kconfig kbuild "
    "build.bazel meson.build meson_options.txt"
)
_RULE_FILES = (
    "claude.md agents.md skill.md gemini.md .cursorrules .windsurfrules .clinerules "
    "copilot-instructions.md conventions.md claude.local.md agent.md system.md prompt.md"
)
_RULES = re.compile(
    r"(?:^|/)(?:prompts?|\.(?:cursor|claude|github|windsurf|clinerules|roo)/(?:rules|agents"
    r"|commands|skills|instructions|prompts))/.*\.(?:md|mdc|txt|prompt)$|\.(?:mdc|instructions\.md)$"
)
"""Paths of texts that tell an agent what to do."""
_SETTINGS = re.compile(r"(?:^|/)(?:etc|\.(?:config|ssh|aws|kube|docker|gnupg|git|cargo|m2))/")
"""Folders whose files are configuration where their names do not say otherwise."""
_NAMES: dict[str, Kind] = {
    **dict.fromkeys(_CONFIG_FILES.split(), "config"),
    **dict.fromkeys(_RULE_FILES.split(), "rules"),
    "syslog": "log", "messages": "log", "dmesg": "log", "changelog": "markdown",
    "license": "prose", "copying": "prose", "readme": "markdown", "notice": "prose",
}  # fmt: skip
_COPIES = frozenset(
    {"gz", "bz2", "xz", "bak", "orig", "rej", "sample", "example", "dist", "tmpl", "in"}
)
"""Extensions of files that are of the kind that stands before them."""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PROGRAMS: dict[str, Kind] = {
    "git diff": "diff", "git show": "diff", "git format-patch": "diff", "git stash": "diff",
    "git log": "listing", "git status": "listing", "git branch": "listing", "git tag": "listing",
    "git ls-files": "listing", "git ls-tree": "listing", "git reflog": "listing",
    "git shortlog": "listing", "git blame": "blame", "git remote": "listing",
    "git grep": "search", "git config": "config", "git rev-list": "listing", "git annotate": "code",
    "diff": "diff", "colordiff": "diff", "gh pr diff": "diff", "interdiff": "diff",
    "grep": "search", "egrep": "search", "fgrep": "search", "rg": "search", "ag": "search",
    "ack": "search", "zgrep": "search", "ripgrep": "search", "ugrep": "search",
    "find": "listing", "fd": "listing", "ls": "listing", "tree": "listing", "du": "listing",
    "locate": "listing", "eza": "listing", "exa": "listing", "dir": "listing", "tar": "listing",
    "unzip": "listing", "pip list": "table", "pip freeze": "config", "npm ls": "listing",
    "cargo tree": "listing", "mvn dependency:tree": "listing", "dpkg": "table", "apt list": "table",
    "ps": "table", "df": "table", "top": "table", "netstat": "table", "ss": "table",
    "lsof": "table",
    "free": "table", "mount": "table", "docker ps": "table", "docker images": "table",
    "podman ps": "table", "docker stats": "table", "kubectl get": "table", "oc get": "table",
    "kubectl top": "table", "psql": "table", "mysql": "table", "sqlite3": "table",
    "systemctl list-units": "table", "gh pr list": "table", "gh issue list": "table",
    "gh run list": "table", "column": "table", "iostat": "table", "vmstat": "table",
    "kubectl logs": "log", "oc logs": "log", "docker logs": "log", "podman logs": "log",
    "docker-compose logs": "log", "docker compose": "log",
    "docker compose ps": "table", "docker compose config": "config",
    "journalctl": "log", "dmesg": "log",
    "gh run view": "log", "stern": "log", "tail_log": "log", "pm2": "log", "heroku": "log",
    "adb logcat": "log", "logcat": "log", "glab ci trace": "log",
    "kubectl describe": "state", "oc describe": "state", "helm get": "config",
    "helm template": "config", "helm show": "config", "docker inspect": "json",
    "terraform plan": "state", "terraform show": "state", "tofu plan": "state",
    "systemctl status": "state", "systemctl show": "state", "helm status": "state",
    "dmidecode": "state", "lshw": "state", "ethtool": "state", "zpool": "state", "mdadm": "state",
    "docker info": "state", "nmcli": "state",
    "terraform apply": "state", "tofu apply": "state",
    "printenv": "config", "env": "config", "sysctl": "state", "systemctl cat": "config",
    "iptables": "state", "ip6tables": "state", "iptables-save": "state", "nft": "state",
    "ufw": "state", "firewall-cmd": "state", "crontab": "config", "nginx": "config",
    "sshd": "config",
    "pytest": "test_run", "py.test": "test_run", "unittest": "test_run", "nosetests": "test_run",
    "tox": "test_run", "nox": "test_run", "jest": "test_run", "vitest": "test_run",
    "mocha": "test_run", "ava": "test_run", "playwright": "test_run", "cypress": "test_run",
    "karma": "test_run", "cargo test": "test_run", "cargo nextest": "test_run",
    "go test": "test_run", "gotestsum": "test_run", "npm test": "test_run", "npm t": "test_run",
    "yarn test": "test_run", "pnpm test": "test_run", "bun test": "test_run",
    "swift test": "test_run", "mix test": "test_run",
    "deno test": "test_run", "mvn test": "test_run", "mvn verify": "test_run",
    "gradle test": "test_run", "gradlew test": "test_run", "dotnet test": "test_run",
    "ctest": "test_run", "phpunit": "test_run", "rspec": "test_run", "make test": "test_run",
    "make check": "test_run", "rails test": "test_run", "rake test": "test_run",
    "jq": "json", "json.tool": "json", "mypy": "error", "ruff": "error", "flake8": "error",
    "pylint": "error", "eslint": "error", "tsc": "error", "shellcheck": "error", "pyright": "error",
    "go vet": "error", "golangci-lint": "error", "cargo clippy": "error", "rubocop": "error",
    "make": "log", "cargo build": "log", "cargo check": "log", "npm install": "log",
    "npm ci": "log",
    "pip install": "log", "pip3 install": "log", "apt-get": "log", "apt install": "log",
    "docker build": "log", "mvn": "log", "gradle": "log", "gradlew": "log", "cmake": "log",
    "ninja": "log", "go build": "log", "dotnet build": "log", "yarn install": "log",
    "man": "prose", "pydoc": "prose", "info": "prose", "tldr": "prose",
}  # fmt: skip
_TOOLS: dict[str, Kind] = {
    "grep": "search", "search": "search", "search_files": "search", "grep_search": "search",
    "codebase_search": "search", "ripgrep": "search", "search_file_content": "search",
    "search_for_pattern": "search", "search_code": "search",
    "glob": "listing", "ls": "listing", "list_dir": "listing", "list_files": "listing",
    "list_directory": "listing", "find_file": "listing", "file_search": "listing",
    "skill": "rules", "load_skill": "rules", "use_skill": "rules", "activate_skill": "rules",
    "fetch_rules": "rules", "get_prompt": "rules", "run_slash_command": "rules",
    "run_tests": "test_run", "read_lints": "error", "get_diagnostics": "error",
    "diagnostics": "error", "get_errors": "error", "get_problems": "error",
    "get_file_problems": "error", "lsp_diagnostics": "error",
    "task": "report", "agent": "report", "new_task": "report", "dispatch_agent": "report",
    "run_subagent": "report", "spawn_agent": "report", "wait_agent": "report",
    "delegate": "report", "subagent": "report",
}  # fmt: skip


def kind_of_file(name: str) -> Kind | None:
    """Return the kind of the file ``name``; None if the name does not tell."""
    base = name.strip().strip("\"'").replace("\\", "/").rsplit("/", 1)[-1].lower()
    if base in _NAMES:
        return _NAMES[base]
    if _RULES.search(name.replace("\\", "/").lower()):
        return "rules"
    if base.startswith((".env", "dockerfile")):
        return "config"
    stem, dot, extension = base.rpartition(".")
    if not dot:
        return "log" if name.startswith("/var/log/") else _of_folder(name)
    if extension.isdigit() and "." in stem:  # app.log.1
        return kind_of_file(stem)
    if extension in _COPIES:
        return kind_of_file(stem) or _of_folder(name)
    if name.startswith("/var/log/"):
        return "log"
    if extension == "xml" and (base.startswith("test-") or "junit" in base):
        return "test_run"
    return _EXTENSIONS.get(extension) or _of_folder(name)


def _of_folder(name: str) -> Kind | None:
    return "config" if _SETTINGS.search(name.replace("\\", "/")) else None


def kind_of_program(program: str, words: tuple[str, ...]) -> Kind | None:
    """Return the kind that ``program`` prints when called as ``words``; None if not known."""
    plain = " ".join(words)
    verbs = program.split(" ")
    shorter = [" ".join(verbs[:count]) for count in range(len(verbs), 0, -1)]
    for name in (plain if len(words) <= 3 else "", *shorter):
        found = _PROGRAMS.get(name)
        if found is not None:
            return _by_flags(program, words, found)
    if program.startswith(("npm run", "yarn run", "pnpm run", "bun run")) and "test" in plain:
        return "test_run"
    if program == "xcodebuild":
        return "test_run" if "test" in words else "log"
    if "--help" in words or "-h" in words[-1:]:
        return "other"
    return None


def _by_flags(program: str, words: tuple[str, ...], kind: Kind) -> Kind:
    flags = [w for w in words if w.startswith("-")]
    if program in ("git log", "git stash") and not {"-p", "--patch", "-u", "--cc"}.isdisjoint(
        flags
    ):
        return "diff"
    if program == "git show" and not {"--stat", "-s", "--no-patch", "--name-only"}.isdisjoint(
        flags
    ):
        return "listing"
    if program == "git diff" and not {"--stat", "--name-only", "--name-status"}.isdisjoint(flags):
        return "listing"
    if kind in ("table", "json") and program.split(" ")[0] in ("kubectl", "oc", "docker", "podman"):
        plain = " ".join(words)
        if "yaml" in plain:
            return "config"
        if "json" in plain:
            return "json"
    if kind == "search" and not {"-l", "-L", "-c", "--count", "--files", "-rl"}.isdisjoint(flags):
        return "listing"
    return kind


def snake_case(name: str) -> str:
    """Return a tool's name as ``read_file``, whatever its client calls it (``readFile``)."""
    return _HUMP.sub("_", name).replace("-", "_").lower()


def kind_of_tool(name: str) -> Kind | None:
    """Return the kind of the tool's outputs; None if its name does not tell."""
    plain = snake_case(name.rsplit("__", 1)[-1])
    if plain in _TOOLS:
        return _TOOLS[plain]
    return "log" if not {"log", "logs", "journal"}.isdisjoint(plain.split("_")) else None
