/** The request for a picture as code: curl, Python, and OpenAI's client. */

/** @param {Asked} shown */
export function curl({ recipe, className, base, needsKey }) {
  const query = new URLSearchParams(fields(recipe, className));
  const key = needsKey ? ' -H "Authorization: Bearer $SAGAN_KEY"' : '';
  return `curl -X POST${key} '${base}generate?${query}' -o '${fileName(className)}'`;
}

/** @param {Asked} shown */
export function python({ recipe, className, base, needsKey }) {
  const key = needsKey ? ', headers={"Authorization": "Bearer " + os.environ["SAGAN_KEY"]}' : '';
  return `${needsKey ? 'import os\n' : ''}import urllib.parse
import urllib.request
from pathlib import Path

fields = ${JSON.stringify(fields(recipe, className))}
url = ${JSON.stringify(`${base}generate?`)} + urllib.parse.urlencode(fields)
request = urllib.request.Request(url, method="POST"${key})
Path(${JSON.stringify(fileName(className))}).write_bytes(urllib.request.urlopen(request).read())
`;
}

/** OpenAI's format has no truncation and no attention scale. @param {Asked} shown */
export function openai({ recipe, className, base, needsKey }) {
  const key = needsKey ? 'os.environ["SAGAN_KEY"]' : '"none"';
  const model = recipe.model === null ? '' : `, model=${JSON.stringify(recipe.model)}`;
  return `${needsKey ? 'import os\n' : ''}import base64
from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(`${base}v1`)}, api_key=${key})
answer = client.images.generate(
    prompt=${JSON.stringify(className)}${model}, extra_body={"seed": ${recipe.seed}}
)
Path(${JSON.stringify(fileName(className))}).write_bytes(base64.b64decode(answer.data[0].b64_json))
`;
}

/** @param {Recipe} recipe @param {string} className @returns {Record<string, string>} */
function fields(recipe, className) {
  const { mix, seed, truncation, attentionScale, model } = recipe;
  return {
    [mix === null ? 'class' : 'mix']: className,
    seed: String(seed),
    ...(truncation === null ? {} : { truncation: String(truncation) }),
    ...(attentionScale === null ? {} : { attention_scale: String(attentionScale) }),
    ...(model === null ? {} : { model }),
  };
}

/** @param {string} className */
function fileName(className) {
  return `${className.replaceAll(/[:,]+/g, '-')}.png`;
}
