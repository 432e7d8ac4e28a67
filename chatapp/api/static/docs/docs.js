// Shows /openapi.json in Swagger UI. In development the page signs itself in, so that "Try it out" works at once.
const ui = SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#api',
  deepLinking: true,
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  onComplete: async () => {
    const config = await (await fetch('/app-config')).json();
    if (config.dev_token) ui.preauthorizeApiKey('bearer', config.dev_token);
  },
});
