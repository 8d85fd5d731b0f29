/** The messages of an error and its causes, from the outermost on. */
export function errorText(error: unknown): string {
  const messages: string[] = [];
  for (let at = error; at instanceof Error; at = at.cause) messages.push(at.message);
  return messages.join(": ");
}
