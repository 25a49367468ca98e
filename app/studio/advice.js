/** What a reader can do about an error that no wait mends. */

import { spoken } from './elements.js';
import { Problem } from './service.js';

const MOST_SUGGESTIONS = 4;

/** @param {unknown} error @param {Ways} ways @returns {{text: string, remedies: Remedy[]}} */
export function adviceOn(error, ways) {
  if (!(error instanceof Problem)) {
    const reload = { label: 'Load the page again', act: () => location.reload() };
    return { text: `Something went wrong in this page: ${error}`, remedies: [reload] };
  }
  if (error.status === 410 || error.status === 404) {
    const text = 'The checkpoint of this picture is no longer served, so nobody can draw it again.';
    const today = { label: 'Draw its class and seed with today’s', act: ways.today };
    return { text, remedies: [today] };
  }
  const similar = error.suggestions.slice(0, MOST_SUGGESTIONS).map((name) => ({
    label: spoken(name),
    act: () => ways.ofClass(name),
  }));
  const others = [
    { label: 'Try again', act: ways.again },
    { label: 'Start over', act: ways.restart },
  ];
  return { text: error.message, remedies: similar.length ? similar : others };
}
