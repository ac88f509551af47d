/* face.h: face recognition for C and C++.
 *
 * Find the faces in a photo, say whether two of them are the same person's, and who of the enrolled people they are.
 *
 *   face_pipeline_t *pipeline = NULL;
 *   face_image_t *photo = NULL;
 *   face_analysis_t *analysis = NULL;
 *   face_image_view_t pixels;
 *   if (face_pipeline_open(NULL, &pipeline) == FACE_STATUS_OK
 *       && face_image_open("photo.jpg", NULL, &photo) == FACE_STATUS_OK
 *       && face_image_view(photo, &pixels) == FACE_STATUS_OK
 *       && face_pipeline_analyze(pipeline, &pixels, &analysis) == FACE_STATUS_OK)
 *     printf("%zu faces\n", face_analysis_count(analysis));
 *   else
 *     fprintf(stderr, "%s\n", face_last_error());
 *   face_analysis_free(analysis);
 *   face_image_free(photo);
 *   face_pipeline_free(pipeline);
 *
 * This file is the manual, and is made from the library's sources. face.hpp wraps it for C++17. Whole programs are in the project's
 * folders examples/c and examples/cpp.
 *
 * CONVENTIONS
 *
 * Status. A function that can fail returns a face_status_t: FACE_STATUS_OK, which is 0, or what went wrong. face_last_error() has the
 * message, which names the function, the argument, the file, and often what to do. Small questions (a count, a name) return their
 * answer itself, and 0, NULL or false when they fail; face_last_error() is then not empty.
 *
 * Results. What a function gives goes through its last parameters. They are written when it succeeds and left alone when it fails, so
 * that a pointer that was set to NULL stays NULL. Parameters are either read or written, never both.
 *
 * Ownership. An object that you receive through a pointer to a pointer is yours: free it with the function of its type whose name ends
 * in _free. free(NULL) of every type does nothing. What comes as a pointer to const (text, embeddings of an analysis, the space of a
 * pipeline) is lent, and lives as long as the object that lent it, unless its description says otherwise. What you hand in stays yours,
 * and is not needed any more when the call returns.
 *
 * NULL. No parameter may be NULL unless its description says so; one that is gives FACE_STATUS_NULL_POINTER and nothing happens. An
 * array of no elements may be NULL. A pointer to something that was freed, or that is not what its type says, cannot be noticed.
 *
 * Threads. Every function may be called from any thread. Objects do not change (galleries do, by themselves in an orderly way), so that
 * any number of threads may use one at the same time, and no lock is held while a network runs. Two things are up to you: an object is
 * freed once, when no thread uses it any more; and pixels and arrays that a call reads are not changed meanwhile. Messages of
 * face_last_error() belong to their thread. After fork(), the child process may use nothing that was made before it.
 *
 * Text is UTF-8 with a NUL at its end, paths included.
 *
 * Settings (types whose names end in _params_t or _limits_t) begin with struct_size. Set it to sizeof, all else to zero, and then what
 * you want to change; zero and NULL stand for the default. NULL in place of the settings stands for the default of all. Newer versions
 * may add members at the end: programs that were compiled before go on to work.
 *
 *   face_identify_params_t params = {.struct_size = sizeof params, .top_k = 3};
 *
 * Panics. A defect in the library is caught before it reaches your program, and becomes FACE_STATUS_PANIC. (What cannot be caught: too
 * little memory, too little stack.)
 *
 * Stability. Numbers of a status or of another enum are never given to something else. Within one minor version (0.1.x), and from 1.0
 * on within one major version, functions and numbers are added, settings get members at their end, and nothing is taken away or
 * changed; other structs stay as they are, and what is new about them gets functions of its own. The SONAME says which version a
 * program was linked for.
 */
