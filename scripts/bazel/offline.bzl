"""Bazel without modules and without a network: repositories for what MODULE.bazel downloads.

`py_library`, `py_binary` and `py_test` have the attributes that this project uses and run the `python3` on
PATH. Bazel's built-in ones would ask for a C++ toolchain, which older versions download.
"""

_LAUNCHER = """#!/bin/sh
root="${{TEST_SRCDIR:-$0.runfiles}}/{workspace}"
export PYTHONPATH="$root${{PYTHONPATH:+:$PYTHONPATH}}"
exec python3 {main} "$@"
"""

def _runfiles(ctx):
    merged = ctx.runfiles(files = ctx.files.srcs + ctx.files.data)
    for target in ctx.attr.deps + ctx.attr.data:
        merged = merged.merge(target[DefaultInfo].default_runfiles)
    return merged

def _library_impl(ctx):
    return [DefaultInfo(files = depset(ctx.files.srcs), runfiles = _runfiles(ctx))]

def _executable_impl(ctx):
    if ctx.attr.main_module:
        main = "-m " + ctx.attr.main_module
    else:
        main = '"$root/%s"' % ctx.file.main.short_path
    launcher = ctx.actions.declare_file(ctx.label.name)
    content = _LAUNCHER.format(main = main, workspace = ctx.workspace_name)
    ctx.actions.write(launcher, content, is_executable = True)
    return [DefaultInfo(executable = launcher, runfiles = _runfiles(ctx))]

_LIBRARY = {
    "data": attr.label_list(allow_files = True),
    "deps": attr.label_list(),
    "imports": attr.string_list(),
    "srcs": attr.label_list(allow_files = [".py"]),
}

_EXECUTABLE = dict(
    _LIBRARY,
    legacy_create_init = attr.int(),
    main = attr.label(allow_single_file = [".py"]),
    main_module = attr.string(),
)

py_library = rule(_library_impl, attrs = _LIBRARY)
py_binary = rule(_executable_impl, attrs = _EXECUTABLE, executable = True)
py_test = rule(_executable_impl, attrs = _EXECUTABLE, test = True)

def _python_rules_impl(repository):
    repository.file("python/BUILD.bazel")
    repository.symlink(Label("//scripts/bazel:offline.bzl"), "python/defs.bzl")

def _installed_packages_impl(repository):
    for line in repository.read(repository.attr.lock).splitlines():
        if line and not line.startswith("#"):
            name = line.split("==")[0].strip().lower().replace("-", "_").replace(".", "_")
            repository.file(name + "/BUILD.bazel", """\
load("@rules_python//python:defs.bzl", "py_library")

py_library(
    name = "{}",
    visibility = ["//visibility:public"],
)
""".format(name))

def _coverage_tools_impl(repository):
    # Before 6.1, Bazel fetches its coverage tools for every test, whether it measures coverage or not.
    repository.file("BUILD.bazel", """\
filegroup(
    name = "coverage_report_generator",
    visibility = ["//visibility:public"],
)
""")

python_rules = repository_rule(_python_rules_impl)
installed_packages = repository_rule(
    _installed_packages_impl,
    attrs = {"lock": attr.label(allow_single_file = True)},
)
coverage_tools = repository_rule(_coverage_tools_impl)
