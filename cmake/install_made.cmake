# Run by `cmake --install`: what is made of the program and of the sources at that time.
# TM_PROGRAM: the program. TM_SOURCE: the top of the sources.
set(share "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/share")

function(tm_complete shell head tail path)
  execute_process(COMMAND ${TM_PROGRAM} completion ${shell}
    OUTPUT_VARIABLE script COMMAND_ERROR_IS_FATAL ANY)
  file(WRITE ${share}/${path} "${head}${script}${tail}")
endfunction()
tm_complete(bash "" "" bash-completion/completions/tidemark)
# zsh reads the file when it is asked for the first time: the last line answers that.
tm_complete(zsh "#compdef tidemark\n" "_bash_complete -o default -F _tidemark\n"
  zsh/vendor-completions/_tidemark)

# Without name and time, so that equal sources make an equal package.
function(tm_compress from path)
  get_filename_component(directory ${share}/${path} DIRECTORY)
  file(MAKE_DIRECTORY ${directory})
  execute_process(COMMAND gzip -9nc ${TM_SOURCE}/${from}
    OUTPUT_FILE ${share}/${path} COMMAND_ERROR_IS_FATAL ANY)
endfunction()
tm_compress(docs/man/tidemark.8 man/man8/tidemark.8.gz)
tm_compress(docs/man/tidemark.yaml.5 man/man5/tidemark.yaml.5.gz)
tm_compress(deploy/debian/changelog doc/tidemark/changelog.gz)
